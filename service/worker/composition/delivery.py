"""Builds the delivery engine of a worker."""

from dataclasses import dataclass

from service.consumers.service import ManualDelivery
from service.conversations.service import ConversationService
from service.delivery.acks import AckWriter
from service.delivery.admission import Admission
from service.delivery.bus_messages import WORKERS_CHANNEL
from service.delivery.changed_memberships import ChangedMemberships
from service.delivery.channel_opener import ChannelOpener
from service.delivery.device_modes import DeviceModes
from service.delivery.fanout import Fanout
from service.delivery.hub import Hub
from service.delivery.replay import Replayer
from service.delivery.subscription_manager import SubscriptionManager
from service.domain.clock import loop_clock
from service.domain.hashes import RequestHasher
from service.messages.acks import AckService
from service.messages.service import MessageService
from service.messages.writer import Writer
from service.presence.tracker import PresenceTracker
from service.receipts.tracker import ReceiptTracker
from service.settings.tree import Settings
from service.worker.composition.stores import Stores
from service.worker.peers import Peers
from service.worker.reconnections import Reconnections
from storage.postgres.conversations.receipts import Receipts
from storage.postgres.log.append import Appender
from storage.redis.bus import Bus
from storage.redis.presence import PresenceStore


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery engine."""

    reconnections: Reconnections
    changed_memberships: ChangedMemberships
    peers: Peers
    bus: Bus
    hub: Hub
    replayer: Replayer
    modes: DeviceModes
    opener: ChannelOpener
    subscriptions: SubscriptionManager
    manual: ManualDelivery
    fanout: Fanout
    writer: Writer
    messages: MessageService
    acks: AckWriter
    ack_service: AckService
    presence: PresenceTracker
    receipts: ReceiptTracker
    conversations: ConversationService
    hasher: RequestHasher


def build_delivery(settings: Settings, stores: Stores, *, worker_id: str) -> Delivery:
    """Builds it; nothing runs yet. What is built later may know what was built earlier, and never the other way."""
    changed_memberships = ChangedMemberships()
    peers = Peers(stores.deployment, worker_id=worker_id, list_workers=stores.devices.list_workers)
    bus = _build_bus(stores, peers, worker_id=worker_id)
    hub = Hub(stores.messages, changed_memberships, loop_clock())
    receipts = ReceiptTracker(Receipts(stores.database), hub, bus)
    replayer = Replayer(stores.messages, hub, loop_clock(), on_complete=receipts.tell_state)
    modes = DeviceModes(stores.devices)
    opener = ChannelOpener(hub, bus, stores.cursors, loop_clock())
    subscriptions = SubscriptionManager(
        hub,
        replayer,
        stores.cursors,
        stores.epochs,
        Admission(stores.cursors, modes, max_devices=settings.limits.max_devices),
        opener,
        bus,
        changed_memberships,
        epoch=stores.deployment.epoch,
    )
    fanout = Fanout(hub, changed_memberships, bus)
    manual = ManualDelivery(
        stores.deliveries, subscriptions, announce=fanout.publish_given_back, on_acked=receipts.note
    )
    writer = _build_writer(settings, stores, fanout)
    hasher = RequestHasher(stores.deployment.hash_key)
    acks = AckWriter(stores.cursors, receipts.note, epoch=stores.deployment.epoch)
    return Delivery(
        reconnections=Reconnections(),
        changed_memberships=changed_memberships,
        peers=peers,
        bus=bus,
        hub=hub,
        replayer=replayer,
        modes=modes,
        opener=opener,
        subscriptions=subscriptions,
        manual=manual,
        fanout=fanout,
        writer=writer,
        messages=MessageService(writer, stores.messages),
        acks=acks,
        ack_service=_build_ack_service(settings, stores, modes, hub, acks, manual, receipts),
        presence=_build_presence(stores, bus),
        receipts=receipts,
        conversations=_build_conversations(settings, stores, hasher, fanout, receipts),
        hasher=hasher,
    )


def _build_bus(stores: Stores, peers: Peers, *, worker_id: str) -> Bus:
    deployment = stores.deployment
    return Bus(
        stores.redis,
        namespace=deployment.namespace,
        common=f"{deployment.deployment_id}:{WORKERS_CHANNEL}",
        worker_id=worker_id,
        is_peer=peers.is_peer,
    )


def _build_writer(settings: Settings, stores: Stores, fanout: Fanout) -> Writer:
    return Writer(
        lambda lock_timeout_ms: Appender(stores.database, lock_timeout_ms=lock_timeout_ms),
        lane_count=settings.database.lanes,
        publish=fanout.publish_items,
        ensure_direct=stores.conversations.ensure_direct,
        announce_members=fanout.publish_memberships,
        max_queued=settings.limits.max_queued_messages,
        pause=stores.database.outage.pause,
    )


def _build_ack_service(
    settings: Settings,
    stores: Stores,
    modes: DeviceModes,
    hub: Hub,
    acks: AckWriter,
    manual: ManualDelivery,
    receipts: ReceiptTracker,
) -> AckService:
    return AckService(
        stores.cursors,
        stores.epochs,
        modes,
        hub,
        acks,
        settle=manual.ack,
        settle_now=manual.ack_now,
        on_acked=receipts.note,
        epoch=stores.deployment.epoch,
        max_devices=settings.limits.max_devices,
    )


def _build_presence(stores: Stores, bus: Bus) -> PresenceTracker:
    return PresenceTracker(
        PresenceStore(stores.redis, namespace=stores.deployment.namespace),
        bus,
        stores.conversations.shares_conversation,
        stores.cursors.changed_versions,
    )


def _build_conversations(
    settings: Settings, stores: Stores, hasher: RequestHasher, fanout: Fanout, receipts: ReceiptTracker
) -> ConversationService:
    return ConversationService(
        stores.conversations,
        stores.members,
        hasher,
        max_members=settings.limits.max_members,
        publish_entries=fanout.publish_entries,
        publish_memberships=fanout.publish_memberships,
        on_read=receipts.note,
    )
