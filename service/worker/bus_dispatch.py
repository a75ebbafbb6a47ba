"""What comes in from outside a call: messages of the bus, and what the hub asks of its neighbours.

The bus, the hub, the replayer and the subscriptions know each other in a ring; this closes it after all are made.
"""

import asyncio
from collections.abc import Callable

import structlog

from service.auth.revocations import Revocations
from service.delivery import bus_messages
from service.delivery.attendance import SubscriptionManager
from service.delivery.bus_messages import FrameType, UnknownFrame
from service.delivery.fanout import REVOCATIONS_CHANNEL, decode_revocation, deliver_typing
from service.delivery.hub import Hub
from service.delivery.replay import Replayer
from service.delivery.session import Session
from service.presence.tracker import PresenceTracker
from service.receipts.tracker import WATCH_CHANNEL, ReceiptTracker

_log = structlog.get_logger(__name__)


class BusDispatcher:
    """Hands on what comes in; everything is on the event loop and nothing blocks."""

    def __init__(self) -> None:
        self._hub: Hub
        self._replayer: Replayer
        self._attendants: SubscriptionManager
        self._presence: PresenceTracker
        self._revocations: Revocations
        self._receipts: ReceiptTracker
        self._resyncs: list[asyncio.Event] = []
        self._wake_device: Callable[[str, str], None]

    def connect(
        self,
        hub: Hub,
        replayer: Replayer,
        subscriptions: SubscriptionManager,
        presence: PresenceTracker,
        revocations: Revocations,
        receipts: ReceiptTracker,
        *,
        wake_device: Callable[[str, str], None],
    ) -> None:
        """Says where things go; before the bus runs.

        Args:
            wake_device: told of (user name, device) that have something to deliver again.
        """
        self._hub = hub
        self._replayer = replayer
        self._attendants = subscriptions
        self._presence = presence
        self._revocations = revocations
        self._receipts = receipts
        self._wake_device = wake_device

    def schedule(self, session: Session) -> None:
        """A session fell behind."""
        self._replayer.schedule(session)

    def refresh(self, username: str) -> None:
        """A user with a session here is in a conversation more."""
        self._attendants.refresh(username)

    def complete(self, session: Session) -> None:
        """A session has all of its past."""
        self._receipts.tell_state(session)

    def moved(self, conversation_id: str, username: str) -> None:
        """A member has, or has read, more of a conversation."""
        self._receipts.note(conversation_id, username)

    def resync_event(self) -> asyncio.Event:
        """Makes an event that is set whenever the bus was away: what was said meanwhile is to be looked for now."""
        event = asyncio.Event()
        self._resyncs.append(event)
        return event

    def reconnected(self) -> None:
        """The bus was away."""
        for event in self._resyncs:
            event.set()

    def take(self, channel: str, payload: bytes) -> None:
        """Takes a bus message. One that can't be read is a hint at most: PostgreSQL has what matters."""
        kind, _, name = channel.partition(":")
        try:
            match kind:
                case "c":
                    self._take_frame(name, payload)
                case "u" if payload:
                    self._wake_device(name, payload.decode())
                case "u":
                    self._attendants.refresh(name)
                case "p":
                    self._presence.take_announcement(name, payload)
                case _ if channel == WATCH_CHANNEL:
                    self._receipts.hear_watch()
                case _ if channel == REVOCATIONS_CHANNEL:
                    self._revocations.apply(decode_revocation(payload))
        except UnknownFrame as error:
            _log.warning("bus message not understood", channel=channel, error=str(error))
        except Exception:  # noqa: BLE001 # whatever was published, the bus must go on for the others
            _log.exception("bus message failed", channel=channel)

    def _take_frame(self, conversation_id: str, payload: bytes) -> None:
        hub_channel = self._hub.channels.get(conversation_id)
        if hub_channel is None or bus_messages.last_seq(payload) in range(1, hub_channel.position + 1):
            return  # nobody here, or known already: this worker's own message coming back
        frame = bus_messages.unpack(payload)
        if frame.type is FrameType.TYPING:
            deliver_typing(self._hub, conversation_id, frame.items[0])
        elif frame.type is FrameType.RECEIPTS:
            self._receipts.take(conversation_id, frame.items)
        else:
            self._hub.deliver(conversation_id, frame.items)
