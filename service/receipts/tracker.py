"""Receipts: how far the others have, and have read, a conversation; for the sessions that watch receipts.

They have no log. What moved is gathered, read and published over the bus; the latest of a member replaces the earlier
one. Who comes gets the state as it is; when the bus was away, so do all who watch. Without anybody who watches, on any
worker, nothing is read and nothing published.
"""

import asyncio

import structlog

from service.convert import responses
from service.delivery.batcher import Batcher
from service.delivery.bus_messages import MovedReceipt, ReceiptsMoved, ReceiptsWatched, publish_nowait
from service.delivery.hub import Hub
from service.delivery.session import Session
from storage.errors import Unavailable
from storage.postgres.conversations.receipts import Receipts
from storage.redis.bus import Bus

_log = structlog.get_logger(__name__)

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
        self._batcher = Batcher(
            self._flush,
            gather_seconds=_GATHER_SECONDS,
            retry_seconds=_COUNT_SECONDS,
            on_unavailable=lambda error: _log.warning("receipts not read", error=str(error)),
        )
        self._watchers: set[Session] = set()
        self._to_tell: set[Session] = set()
        self._to_count: dict[str, None] = {}
        self._heard_time = float("-inf")

    def note(self, conversation_id: str, username: str) -> None:
        """Notes that a member has received or read more of a conversation than before."""
        if asyncio.get_running_loop().time() - self._heard_time < _HEARD_SECONDS and len(self._moved) < _MAX_MOVED:
            self._moved[(conversation_id, username)] = None
            self._batcher.notify()

    def watch(self, session: Session) -> None:
        """Starts to send receipts to a session: first the present state, once the session has caught up."""
        self._watchers.add(session)
        publish_nowait(self._bus, ReceiptsWatched())
        self.hear_watch()
        if not session.subscriptions.to_catch_up:
            self.tell_state(session)

    def leave(self, session: Session) -> None:
        """Forgets a session."""
        self._watchers.discard(session)
        self._to_tell.discard(session)

    def tell_state(self, session: Session) -> None:
        """Notes that a session has caught up, so that it can get the present state."""
        if session in self._watchers:
            self._to_tell.add(session)
            self._batcher.notify()

    async def tell_all(self) -> None:
        """Sends every watcher the present state: what was published while the bus was away is lost."""
        self._to_tell |= self._watchers
        self._batcher.notify()

    def hear_watch(self) -> None:
        """Notes that a session watches receipts, on this worker or on another one."""
        self._heard_time = asyncio.get_running_loop().time()

    def take(self, message: ReceiptsMoved) -> None:
        """Takes published receipts for those who watch here."""
        conversation_id = message.conversation_id
        watching = self._watching(conversation_id)
        if not watching:
            return
        for username, body in message.moved:
            if not username:
                self._to_count[conversation_id] = None
            for session in watching:
                if body:
                    session.outbox.put_ephemeral((f"receipt {conversation_id}", username), body)

    def _watching(self, conversation_id: str) -> list[Session]:
        """Who watches a conversation here, also those who lag just now.

        Not those whose state is still to come, and not former members, who lag until they took their removal.
        """
        channel = self._hub.channels.get(conversation_id)
        if channel is None or not self._watchers:
            return []
        attached = (*channel.live, *channel.lagging)
        return [
            session
            for session in attached
            if session in self._watchers
            and not session.subscriptions.to_catch_up
            and session.subscriptions.is_in(conversation_id)
        ]

    async def run(self) -> None:
        """Reads, publishes and counts until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._batcher.run(), name="receipts")
            group.create_task(self._count_forever(), name="receipt counts")
            group.create_task(self._say_forever(), name="receipt watch")

    async def _flush(self) -> None:
        while self._ready() or self._moved:
            await self._tell_states()
            await self._publish_moved()

    def _ready(self) -> list[Session]:
        """Who may be told the state now: it is not piled up for a client that does not read."""
        return [session for session in self._to_tell if session.outbox.has_room]

    async def _tell_states(self) -> None:
        for session in self._ready():
            self._to_tell.discard(session)  # what is asked for while this is read is told again
            try:
                state = await self._receipts.list_for(
                    session.username, max_conversations=STATE_CONVERSATIONS, limit=STATE_RECEIPTS
                )
                counted = await self._receipts.list_counted(session.username, limit=STATE_CONVERSATIONS)
            except Unavailable:
                self.tell_state(session)
                raise
            self._to_count.update(dict.fromkeys(counted))
            if session in self._watchers:
                for first in range(0, len(state), _RECEIPTS_A_PIECE):
                    session.outbox.put(responses.receipts(state[first : first + _RECEIPTS_A_PIECE]))

    async def _publish_moved(self) -> None:
        pairs = list(self._moved)[:_MAX_BATCH]
        if not pairs:
            return
        for pair in pairs:
            del self._moved[pair]  # what moves while this is read is read again
        try:
            named, counted = await self._receipts.read(pairs)
        except Unavailable:
            self._moved.update(dict.fromkeys(pairs))
            raise
        by_conversation = {name: [MovedReceipt.of(None)] for name in counted}
        for receipt in named:
            by_conversation.setdefault(receipt.conversation_id, []).append(MovedReceipt.of(receipt))
        for conversation_id, moved in by_conversation.items():
            publish_nowait(self._bus, ReceiptsMoved(conversation_id, moved))

    async def _count_forever(self) -> None:
        loop = asyncio.get_running_loop()
        took_seconds = 0.0
        while True:
            # Counting is work for every member: it takes half of a connection's time at most.
            await asyncio.sleep(max(_COUNT_SECONDS, took_seconds))
            began = loop.time()
            await self._count_all()
            took_seconds = loop.time() - began

    async def _count_all(self) -> None:
        """Counts one conversation after the other: all at once could take longer than a statement may."""
        for conversation_id in list(self._to_count):
            del self._to_count[conversation_id]  # what moves from here on is counted again
            if not self._watching(conversation_id):
                continue
            try:
                counts = await self._receipts.count([conversation_id])
            except Unavailable as error:
                _log.warning("receipts not counted", error=str(error))
                self._to_count[conversation_id] = None  # behind the others
                return
            for count in counts:
                body = responses.receipt_count(count)
                for session in self._watching(conversation_id):
                    session.outbox.put_ephemeral((f"receipt {conversation_id}", ""), body)

    async def _say_forever(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if self._watchers:
                self.hear_watch()
                publish_nowait(self._bus, ReceiptsWatched())
            if self._to_tell:
                self._batcher.notify()  # there may be room by now
