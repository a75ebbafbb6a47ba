"""Receipts: tells senders who watch them up to where the others have, and have read, their conversations.

They have no log. What moved is gathered, read and published over the bus; the latest of a member replaces the earlier
one. Who comes gets the state as it is; when the bus was away, so do all who watch. Without anybody who watches, on any
worker, nothing is read and nothing published.
"""

import asyncio
from collections.abc import Iterable

import structlog

from service.delivery import encode, wire
from service.delivery.attendance import conversation_channel
from service.delivery.hub import Hub
from service.delivery.session import Session
from service.delivery.wire import FrameType, Item
from storage.errors import Unavailable
from storage.postgres.receipts import Receipts
from storage.records import Receipt
from storage.redis.bus import Bus

_log = structlog.get_logger(__name__)

WATCH_CHANNEL = "receipts"
# Workers with watchers say so this often; the others go on publishing for this long after they heard it last.
_WATCH_SECONDS = 1.0
_HEARD_SECONDS = 5.0
_GATHER_SECONDS = 0.05
_COUNT_SECONDS = 2.0
_MAX_BATCH = 2000
# What may wait to be read and published; more is dropped, and the next change of that member tells it.
_MAX_MOVED = 50_000
# The state that a stream gets when it begins: of so many conversations, so many receipts.
STATE_CONVERSATIONS = 100
STATE_RECEIPTS = 5000
_RECEIPTS_A_PIECE = 1000


class ReceiptTracker:
    """The receipts of a worker's readers, and the watchers of a worker."""

    def __init__(self, receipts: Receipts, hub: Hub, bus: Bus) -> None:
        self._receipts = receipts
        self._hub = hub
        self._bus = bus
        self._moved: dict[tuple[str, str], None] = {}
        self._filled = asyncio.Event()
        self._watchers: set[Session] = set()
        self._to_tell: set[Session] = set()
        self._to_count: set[str] = set()
        self._heard_time = float("-inf")

    def note(self, conversation_id: str, username: str) -> None:
        """Takes word that a member has, or has read, more of a conversation than before."""
        if asyncio.get_running_loop().time() - self._heard_time < _HEARD_SECONDS and len(self._moved) < _MAX_MOVED:
            self._moved[(conversation_id, username)] = None
            self._filled.set()

    def watch(self, session: Session) -> None:
        """Tells a session from here on; the state as it is, once its past has been brought."""
        self._watchers.add(session)
        self._bus.publish_nowait(WATCH_CHANNEL, b"")
        self.hear_watch()
        if not session.to_catch_up:
            self.tell_state(session)

    def leave(self, session: Session) -> None:
        """Forgets a session."""
        self._watchers.discard(session)
        self._to_tell.discard(session)

    def tell_state(self, session: Session) -> None:
        """Takes word that a session's past has been brought."""
        if session in self._watchers:
            self._to_tell.add(session)
            self._filled.set()

    def tell_all(self) -> None:
        """Takes word that the bus was away: what was published meanwhile is lost."""
        self._to_tell |= self._watchers
        self._to_count |= {name for session in self._watchers for name in session.conversation_ids}
        self._filled.set()

    def hear_watch(self) -> None:
        """Takes word that somebody watches, here or elsewhere."""
        self._heard_time = asyncio.get_running_loop().time()

    def take(self, conversation_id: str, items: Iterable[Item]) -> None:
        """Takes published receipts for those who watch here."""
        channel = self._hub.channels.get(conversation_id)
        watching = [session for session in channel.live if session in self._watchers] if channel is not None else []
        if not watching:
            return
        for item in items:
            username, body = unpack_receipt(item.body)
            if not username:
                self._to_count.add(conversation_id)
            for session in watching:
                if body:
                    session.put_ephemeral((f"receipt {conversation_id}", username), body)

    async def run(self) -> None:
        """Reads, publishes and counts until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish_forever(), name="receipts")
            group.create_task(self._count_forever(), name="receipt counts")
            group.create_task(self._say_forever(), name="receipt watch")

    async def _publish_forever(self) -> None:
        while True:
            await self._filled.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._filled.clear()
            try:
                while self._to_tell or self._moved:
                    await self._tell_states()
                    await self._publish_moved()
            except Unavailable as error:
                _log.warning("receipts not read", error=str(error))
                await asyncio.sleep(_COUNT_SECONDS)
                self._filled.set()

    async def _tell_states(self) -> None:
        while self._to_tell:
            session = next(iter(self._to_tell))
            state = await self._receipts.list_for(
                session.username, max_conversations=STATE_CONVERSATIONS, limit=STATE_RECEIPTS
            )
            self._to_tell.discard(session)
            if session in self._watchers:
                for first in range(0, len(state), _RECEIPTS_A_PIECE):
                    session.put(encode.receipts(state[first : first + _RECEIPTS_A_PIECE]))

    async def _publish_moved(self) -> None:
        pairs = list(self._moved)[:_MAX_BATCH]
        if not pairs:
            return
        named, counted = await self._receipts.read(pairs)
        for pair in pairs:
            self._moved.pop(pair, None)
        by_conversation: dict[str, list[bytes]] = {name: [pack_receipt(None)] for name in counted}
        for receipt in named:
            by_conversation.setdefault(receipt.conversation_id, []).append(pack_receipt(receipt))
        for conversation_id, bodies in by_conversation.items():
            items = [Item(nth, body, 0, 0) for nth, body in enumerate(bodies)]
            frame = wire.pack(FrameType.RECEIPTS, conversation_id, items)
            self._bus.publish_nowait(conversation_channel(conversation_id), frame)

    async def _count_forever(self) -> None:
        while True:
            await asyncio.sleep(_COUNT_SECONDS)
            wanted = list(self._to_count)
            if not wanted:
                continue
            try:
                counts = await self._receipts.count(wanted)
            except Unavailable as error:
                _log.warning("receipts not counted", error=str(error))
                continue
            self._to_count.difference_update(wanted)
            for count in counts:
                channel = self._hub.channels.get(count.conversation_id)
                body = encode.receipt_count(count)
                for session in channel.live if channel is not None else ():
                    if session in self._watchers:
                        session.put_ephemeral((f"receipt {count.conversation_id}", ""), body)

    async def _say_forever(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if self._watchers:
                self.hear_watch()
                self._bus.publish_nowait(WATCH_CHANNEL, b"")


def pack_receipt(receipt: Receipt | None) -> bytes:
    """A receipt as it goes over the bus: the name's length, the name, ready bytes; None: a count has moved."""
    if receipt is None:
        return b"\0"
    name = receipt.username.encode()
    return bytes([len(name)]) + name + encode.receipts([receipt])


def unpack_receipt(payload: bytes) -> tuple[str, bytes]:
    """The opposite of `pack_receipt`: (name, ready bytes), both empty for a count."""
    length = payload[0]
    return payload[1 : 1 + length].decode(), payload[1 + length :]
