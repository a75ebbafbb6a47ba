"""Builds the methods of the service: what each one needs, without what carries its calls."""

from datetime import UTC, datetime

from service.rpc.accounts import AccountHandlers
from service.rpc.acks import AckHandlers
from service.rpc.chat.parts import ChatParts
from service.rpc.chat.stream import ChatHandlers, FrameCounts
from service.rpc.conversations import ConversationHandlers
from service.rpc.dead_letters import DeadLetterHandlers
from service.rpc.messages import MessageHandlers
from service.rpc.method_kinds import Stream, Unary
from service.rpc.methods import Handlers, to_methods
from service.rpc.presence import PresenceHandlers
from service.rpc.server_info import ServerInfoHandlers
from service.rpc.telemetry import CallCounts
from service.settings.tree import Settings
from service.worker.composition.auth import Auth
from service.worker.composition.delivery import Delivery
from service.worker.composition.stores import Stores
from service.worker.health import Health


def build_methods(
    settings: Settings,
    stores: Stores,
    delivery: Delivery,
    auth: Auth,
    health: Health,
    calls: CallCounts,
    frames: FrameCounts,
) -> dict[str, Unary | Stream]:
    """Builds all methods, by name."""
    epoch = stores.deployment.epoch
    parts = ChatParts(
        authenticator=auth.authenticator,
        hub=delivery.hub,
        subscriptions=delivery.subscriptions,
        messages=delivery.messages,
        fanout=delivery.fanout,
        acks=delivery.ack_service,
        modes=delivery.modes,
        manual=delivery.manual,
        presence=delivery.presence,
        receipts=delivery.receipts,
        conversations=delivery.conversations,
        hasher=delivery.hasher,
        epoch=epoch,
        ack_deadline_seconds=settings.retry.ack_deadline_seconds,
    )
    handlers = Handlers(
        server_info=ServerInfoHandlers(
            settings,
            start_time=datetime.now(UTC),
            epoch=lambda: epoch,
            component_states=health.component_states,
        ),
        accounts=AccountHandlers(auth.accounts, auth.logins),
        conversations=ConversationHandlers(delivery.conversations),
        messages=MessageHandlers(delivery.messages, delivery.hasher, calls.errors),
        chat=ChatHandlers(
            parts,
            delivery.replayer,
            auth.streams,
            counts=frames,
            errors=calls.errors,
        ),
        acks=AckHandlers(delivery.ack_service),
        dead_letters=DeadLetterHandlers(stores.dead_letters, announce=delivery.manual.announce),
        presence=PresenceHandlers(delivery.presence),
    )
    return to_methods(handlers)
