"""Builds the table of who handles which message of the bus. Everything in it is built before."""

from service.auth.revocations import Revocations
from service.consumers.service import ManualDelivery
from service.delivery.bus_messages import (
    DeliveriesReturned,
    EntriesStored,
    LoginsEnded,
    MembershipsChanged,
    PresenceChanged,
    ReceiptsMoved,
    ReceiptsWatched,
    TypingChanged,
    WorkerAnnounced,
)
from service.delivery.changed_memberships import ChangedMemberships
from service.delivery.fanout import deliver_typing
from service.delivery.hub import Hub
from service.presence.tracker import PresenceTracker
from service.receipts.tracker import ReceiptTracker
from service.worker.bus_dispatch import BusDispatcher, handler
from service.worker.composition.delivery import Delivery
from service.worker.peers import Peers
from storage.redis.bus import Receiver


def build_dispatcher(
    *,
    hub: Hub,
    changed_memberships: ChangedMemberships,
    receipts: ReceiptTracker,
    manual: ManualDelivery,
    presence: PresenceTracker,
    revocations: Revocations,
    peers: Peers,
) -> BusDispatcher:
    """Builds the dispatcher with its table of handlers."""
    return BusDispatcher(
        hub,
        [
            handler(EntriesStored, lambda message: hub.deliver(message.conversation_id, message.items)),
            handler(TypingChanged, lambda message: deliver_typing(hub, message)),
            handler(ReceiptsMoved, receipts.take),
            handler(ReceiptsWatched, lambda _: receipts.hear_watch()),
            handler(MembershipsChanged, lambda message: changed_memberships.note(message.username)),
            handler(DeliveriesReturned, lambda message: manual.wake(message.username, message.device_id)),
            handler(PresenceChanged, presence.take),
            handler(LoginsEnded, lambda message: revocations.apply(message.revocation)),
            handler(WorkerAnnounced, peers.hear),
        ],
    )


def build_receiver(delivery: Delivery, revocations: Revocations) -> Receiver:
    """Builds what the bus calls while it runs."""
    dispatcher = build_dispatcher(
        hub=delivery.hub,
        changed_memberships=delivery.changed_memberships,
        receipts=delivery.receipts,
        manual=delivery.manual,
        presence=delivery.presence,
        revocations=revocations,
        peers=delivery.peers,
    )
    return Receiver(take=dispatcher.take, take_common=dispatcher.take_common, reconnected=delivery.reconnections.note)
