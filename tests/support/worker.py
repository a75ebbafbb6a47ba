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
from service.delivery.attendance import SubscriptionManager
from service.delivery.device_modes import DeviceModes
from service.delivery.fanout import Fanout
from service.delivery.hub import Hub
from service.delivery.replay import Replayer
from service.delivery.session import Session
from service.presence.tracker import PresenceTracker
from service.receipts.tracker import WATCH_CHANNEL, ReceiptTracker
from service.worker.bus_dispatch import BusDispatcher
from storage.postgres.connections.database import Database
from storage.postgres.conversations.conversations import Conversations
from storage.postgres.conversations.receipts import Receipts
from storage.postgres.devices.cursors import Cursors
from storage.postgres.devices.deliveries import Deliveries
from storage.postgres.devices.devices import Devices
from storage.postgres.log.epochs import Epochs
from storage.postgres.log.messages import Messages
from storage.redis.bus import Bus
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
) -> AsyncIterator[Worker]:
    """Builds the parts and runs the bus, unless it is to be away.

    Args:
        prefix: the namespace; workers with the same one hear each other.
    """
    servers = Servers(redis_url)
    dispatcher = BusDispatcher()
    namespace = prefix or secrets.token_hex(6)
    bus = Bus(
        servers,
        namespace=namespace,
        common=f"{namespace}:workers",
        worker_id=secrets.token_hex(4),
        is_peer=lambda _: True,
        on_common=lambda _: None,
        on_message=dispatcher.take,
        on_connect=dispatcher.reconnected,
    )
    messages = messages or Messages(database)
    hub = Hub(messages, on_lag=dispatcher.schedule, on_added=dispatcher.refresh)
    replayer = Replayer(messages, hub, on_complete=dispatcher.complete)
    modes = DeviceModes(Devices(database, worker_id=secrets.token_hex(4)))
    epochs = Epochs(database)
    epoch = await epochs.get_epoch()
    subscriptions = SubscriptionManager(
        hub, replayer, cursors or Cursors(database), epochs, modes, bus, epoch=epoch, max_devices=100
    )
    store = Gated(servers, namespace=namespace)
    presence = PresenceTracker(
        store, bus, Conversations(database).shares_conversation, Cursors(database).changed_versions
    )
    receipts = ReceiptTracker(Receipts(database), hub, bus)
    manual = ManualDelivery(
        Deliveries(database, retry_seconds=[]), subscriptions, announce=lambda *_: None, on_acked=dispatcher.moved
    )
    dispatcher.connect(hub, replayer, subscriptions, presence, Revocations(), receipts, wake_device=manual.wake)
    acks = AckWriter(Cursors(database), dispatcher.moved, epoch=1)
    await bus.subscribe([WATCH_CHANNEL])
    background = [asyncio.create_task(work) for work in (receipts.run(), presence.writer.run())]
    if has_bus:
        background.append(asyncio.create_task(bus.run()))
    try:
        if has_bus:
            await wait_for(lambda: bus.is_alive, what="the bus")
        yield Worker(
            bus, hub, replayer, subscriptions, Fanout(hub, subscriptions, bus), presence, receipts, store, acks
        )
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await replayer.close()
        await hub.close()
        await bus.close()
        await servers.close()
