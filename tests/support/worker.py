"""The delivery parts of one worker, wired as the server wires them, on a real database and bus, without gRPC."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from parley.v1 import chat_pb2

from service.auth.revocations import Revocations
from service.consumers.service import ManualDelivery
from service.delivery.acks import AckWriter
from service.delivery.admission import Admission
from service.delivery.bus_messages import RECEIPTS_CHANNEL
from service.delivery.changed_memberships import ChangedMemberships
from service.delivery.channel_opener import ChannelOpener
from service.delivery.device_modes import DeviceModes
from service.delivery.fanout import Fanout
from service.delivery.hub import Hub
from service.delivery.replay import Replayer
from service.delivery.session import Session
from service.delivery.subscription_manager import SubscriptionManager
from service.domain.clock import Clock, loop_clock
from service.messages.acks import AckService
from service.presence.tracker import PresenceTracker
from service.receipts.tracker import ReceiptTracker
from service.worker.composition.bus import build_dispatcher
from service.worker.peers import Peers
from service.worker.reconnections import Reconnections
from storage.postgres.connections.database import Database
from storage.postgres.conversations.conversations import Conversations
from storage.postgres.conversations.receipts import Receipts
from storage.postgres.devices.cursors import Cursors
from storage.postgres.devices.deliveries import Deliveries
from storage.postgres.devices.devices import Devices
from storage.postgres.log.epochs import Epochs
from storage.postgres.log.messages import Messages
from storage.postgres.schema.migrate import read_deployment
from storage.redis.bus import Bus, Receiver
from storage.redis.servers import Servers
from tests.support.presence import Gated
from tests.support.waiting import wait_for


@dataclass(slots=True)
class Worker:
    """One worker's parts."""

    bus: Bus
    hub: Hub
    replayer: Replayer
    subscriptions: SubscriptionManager
    fanout: Fanout
    presence: PresenceTracker
    receipts: ReceiptTracker
    presence_store: Gated
    acks: AckWriter
    ack_service: AckService
    modes: DeviceModes
    manual: ManualDelivery

    async def attach(self, username: str, device_id: str = "phone", *, epoch: int = 0, **explicit: int) -> "Reader":
        """Opens a session as hello does."""
        reader = Reader.of(username, device_id)
        await self.subscriptions.attach(reader.session, explicit, starts_at_latest=False, epoch=epoch)
        return reader


@dataclass(slots=True)
class Reader:
    """A session whose stream is read by the test."""

    session: Session
    got: "chat_pb2.ChatResponse | None" = None
    on_wake: Callable[[], object] = lambda: None

    @classmethod
    def of(cls, username: str, device_id: str) -> "Reader":
        """Makes a session, whose wakes the test may follow by `on_wake`."""
        reader = cls(Session(secrets.randbits(62) | 1, username, device_id, wake=lambda: reader.on_wake()))
        return reader

    def read(self) -> chat_pb2.ChatResponse:
        """Takes all frames that wait; gives all that came so far."""
        self.got = self.got or chat_pb2.ChatResponse()
        while frame := self.session.outbox.take_frame():
            self.got.MergeFromString(frame)
        return self.got

    def seqs(self, conversation_id: str) -> list[int]:
        """The seqs that came of a conversation, in order."""
        return [message.seq for message in self.read().messages if message.conversation_id == conversation_id]

    async def until(self, conversation_id: str, *seqs: int) -> None:
        """Waits until exactly these came."""
        await wait_for(lambda: self.seqs(conversation_id) == list(seqs), what=f"{seqs} of {conversation_id}")


@contextlib.asynccontextmanager
async def running_worker(
    database: Database,
    redis_url: str,
    *,
    prefix: str | None = None,
    has_bus: bool = True,
    cursors: Cursors | None = None,
    messages: Messages | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Worker]:
    """Builds the parts and runs the bus, unless it is to be away.

    Args:
        prefix: the namespace; workers with the same one hear each other.
        clock: of the hub and the replayer; the event loop's when it is not given.
    """
    servers = Servers(redis_url)
    namespace = prefix or secrets.token_hex(6)
    clock = clock or loop_clock()
    changed_memberships = ChangedMemberships()
    worker_id = secrets.token_hex(4)
    bus = Bus(
        servers,
        namespace=namespace,
        common=f"{namespace}:workers",
        worker_id=worker_id,
        is_peer=lambda _: True,
    )
    messages = messages or Messages(database)
    hub = Hub(messages, changed_memberships, clock)
    receipts = ReceiptTracker(Receipts(database), hub, bus)
    replayer = Replayer(messages, hub, clock, on_complete=receipts.tell_state)
    devices = Devices(database, worker_id=worker_id)
    modes = DeviceModes(devices)
    cursors = cursors or Cursors(database)
    async with database.acquire() as connection:
        deployment = await read_deployment(connection)
    subscriptions = SubscriptionManager(
        hub,
        replayer,
        cursors,
        Epochs(database),
        Admission(cursors, modes, max_devices=100),
        ChannelOpener(hub, bus, cursors, clock),
        bus,
        changed_memberships,
        epoch=deployment.epoch,
    )
    store = Gated(servers, namespace=namespace)
    presence = PresenceTracker(
        store, bus, Conversations(database).shares_conversation, Cursors(database).changed_versions
    )
    manual = ManualDelivery(
        Deliveries(database, retry_seconds=[]), subscriptions, announce=lambda *_: None, on_acked=receipts.note
    )
    dispatcher = build_dispatcher(
        hub=hub,
        changed_memberships=changed_memberships,
        receipts=receipts,
        manual=manual,
        presence=presence,
        revocations=Revocations(),
        peers=Peers(deployment, worker_id=worker_id, list_workers=devices.list_workers),
    )
    receiver = Receiver(dispatcher.take, dispatcher.take_common, Reconnections().note)
    acks = AckWriter(Cursors(database), receipts.note, epoch=1)
    ack_service = AckService(
        Cursors(database),
        Epochs(database),
        modes,
        hub,
        acks,
        settle=manual.ack,
        settle_now=manual.ack_now,
        on_acked=receipts.note,
        epoch=deployment.epoch,
        max_devices=100,
    )
    await bus.subscribe([RECEIPTS_CHANNEL])
    background = [asyncio.create_task(work) for work in (receipts.run(), presence.writer.run(), subscriptions.run())]
    if has_bus:
        background.append(asyncio.create_task(bus.run(receiver)))
    try:
        if has_bus:
            await wait_for(lambda: bus.is_alive, what="the bus")
        yield Worker(
            bus=bus,
            hub=hub,
            replayer=replayer,
            subscriptions=subscriptions,
            fanout=Fanout(hub, changed_memberships, bus),
            presence=presence,
            receipts=receipts,
            presence_store=store,
            acks=acks,
            ack_service=ack_service,
            modes=modes,
            manual=manual,
        )
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await replayer.close()
        await hub.close()
        await bus.close()
        await servers.close()
