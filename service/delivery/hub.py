"""The channels of a worker: each entry of a conversation goes to the live sessions of its members here.

The log is the authority. Entries come from the worker's own writer, from the bus and from PostgreSQL; `Channel` puts
them in order and drops what is known. A gap is read from PostgreSQL after a short wait. Membership entries are applied
when their seq is delivered, before the next one. A large fan-out gets what comes during its cooldown as one.
"""

import asyncio
import time
from collections.abc import Collection, Iterable

import structlog

from service.convert import responses
from service.convert.entry_kinds import KINDS, Kind, MembershipEffect
from service.convert.items import Item
from service.delivery.attach import Plan
from service.delivery.changed_memberships import ChangedMemberships
from service.delivery.channel import PARK_SECONDS, Channel
from service.delivery.session import Session
from service.domain.clock import Clock
from service.metrics.histogram import SECONDS, Histogram
from storage.errors import Unavailable
from storage.postgres.log.messages import TOP_SEQ, Messages
from storage.records import Span

_log = structlog.get_logger(__name__)

# A run is cut after this much, so that one offer never takes a session's whole buffer.
_RUN_BYTES = 256 * 1024
_GAP_LIMIT = 500
_GAP_READERS = 4
_RETRY_SECONDS = 0.25
# Channels stay open this long after the last session, so that a reconnect finds its tail.
LINGER_SECONDS = 30.0
# From so many streams of a conversation on its deliveries are joined while it is being written to.
LARGE_FANOUT = 32
_MAX_COOLDOWN_SECONDS = 0.1
# Between two messages whose age is looked at.
_LOOK_SECONDS = 0.1


class Hub:
    """The channels of a worker.

    Args:
        messages: the log, for gaps.
        changed_memberships: gets users with a session here whom an entry added.
        clock: for the wait before a gap is read, for cooldowns and for channels that linger.
    """

    def __init__(self, messages: Messages, changed_memberships: ChangedMemberships, clock: Clock) -> None:
        self._messages = messages
        self._changed_memberships = changed_memberships
        self._clock = clock
        self._gap_slots = asyncio.Semaphore(_GAP_READERS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_cooling_down = False
        self._waiting: set[Channel] = set()  # large fan-outs for which something was parked during the cooldown
        self.channels: dict[str, Channel] = {}
        self.users: dict[str, set[Session]] = {}
        self.delivery_seconds = Histogram(SECONDS)
        self._next_look_time = 0.0  # when the next message's age is looked at, on the clock
        self.gap_read_count = 0
        self.gap_entry_count = 0  # what the bus had not brought by then

    def wants(self, conversation_id: str, last_seq: int) -> bool:
        """Whether somebody here listens to a conversation and lacks entries up to `last_seq` (0: not known)."""
        channel = self.channels.get(conversation_id)
        return channel is not None and not 0 < last_seq <= channel.position

    def deliver(self, conversation_id: str, items: Iterable[Item]) -> None:
        """Takes what was just stored, in any order, new or not; it waits for a large fan-out during the cooldown."""
        channel = self.channels.get(conversation_id)
        if channel is None:
            return
        is_large = len(channel.live) >= LARGE_FANOUT
        if is_large and self._is_cooling_down:
            channel.park(items)
            self._waiting.add(channel)
        elif self._hand_on(channel, channel.take(items)) and is_large:
            self._cool_down()

    def advance(self, conversation_id: str, items: Iterable[Item]) -> None:
        """Takes entries that were read from the log, and offers them to the live sessions at once."""
        channel = self.channels.get(conversation_id)
        if channel is not None:
            self._hand_on(channel, channel.take(items))

    def note_last_seq(self, conversation_id: str, last_seq: int) -> None:
        """Notes that a conversation has grown up to a seq; missing entries are read if they do not come."""
        channel = self.channels.get(conversation_id)
        if channel is not None and last_seq > channel.position:
            channel.known_last_seq = max(channel.known_last_seq, last_seq)
            self._watch_gap(channel)

    def forget(self, conversation_id: str, seqs: Collection[int] | None) -> None:
        """Drops ready bytes of entries that were changed in the log (None: of all)."""
        channel = self.channels.get(conversation_id)
        if channel is not None:
            channel.forget(seqs)

    def open(self, channel: Channel, last_seq: int) -> None:
        """Sets the position of a channel that was just subscribed, and offers what was parked meanwhile."""
        channel.open_at(last_seq)
        self._hand_on(channel, channel.take_parked())

    def enter(self, session: Session) -> None:
        """Notes a session, so that changes of its user's memberships are looked for."""
        self.users.setdefault(session.username, set()).add(session)

    def place(self, session: Session, plan: Plan) -> None:
        """Puts a session where a plan says. The channels must be where they were when the plan was made."""
        subscriptions = session.subscriptions
        for conversation_id, _ in plan.live:
            channel = self.channels[conversation_id]
            subscriptions.attach(channel.conversation_id)
            self.join(channel, session)
        for conversation_id in plan.returned:
            self._attach_lagging(conversation_id, session)
            subscriptions.note_return(conversation_id)
        for behind in plan.behind:
            if behind.is_member:
                self._attach_lagging(behind.conversation_id, session)
            subscriptions.fall_behind(
                behind.conversation_id,
                behind.position,
                behind.floor_seq,
                is_member=behind.is_member,
                end_seq=behind.end_seq,
            )

    def _attach_lagging(self, conversation_id: str, session: Session) -> None:
        channel = self.channels[conversation_id]
        session.subscriptions.attach(channel.conversation_id)
        channel.lagging.add(session)
        channel.idle_since = None

    def join(self, channel: Channel, session: Session) -> None:
        """Makes a session live whose position is the channel's."""
        channel.lagging.discard(session)
        channel.live.add(session)
        channel.idle_since = None

    def leave(self, conversation_id: str, session: Session) -> None:
        """Takes a session out of a conversation."""
        session.subscriptions.detach(conversation_id)
        channel = self.channels.get(conversation_id)
        if channel is not None:
            channel.leave(session, self._clock.time())

    def detach(self, session: Session) -> None:
        """Takes a session out of everything."""
        for conversation_id in list(session.subscriptions.conversation_ids):
            self.leave(conversation_id, session)
        session.subscriptions.drop_lags()
        sessions = self.users.get(session.username)
        if sessions is not None:
            sessions.discard(session)
            if not sessions:
                del self.users[session.username]

    def delivered_seq(self, conversation_id: str, session: Session) -> int | None:
        """The last seq that a session may acknowledge; None when the conversation is none of its.

        That is what was handed to it; while it is being brought up also what was there when it came, since an earlier
        stream of its device, perhaps on another worker, may have had that.
        """
        subscriptions = session.subscriptions
        if (lag := subscriptions.lags.get(conversation_id)) is not None:
            return max(lag.position, lag.end_seq)
        if conversation_id in subscriptions.conversation_ids:
            return self.channels[conversation_id].position
        return subscriptions.finished.get(conversation_id)

    def has_pending_own(self, session: Session) -> bool:
        """Whether a message that a session stored itself was not delivered yet, in what it is attached to.

        A session that lags is told apart by its lags.
        """
        subscriptions = session.subscriptions
        return any(
            name in subscriptions.conversation_ids and self.channels[name].position < seq
            for name, seq in subscriptions.own_seqs.items()
        )

    def drop_idle(self) -> list[str]:
        """Drops channels that had no session for LINGER_SECONDS; returns their conversations."""
        limit = self._clock.time() - LINGER_SECONDS
        gone = [
            conversation_id
            for conversation_id, channel in self.channels.items()
            if channel.idle_since is not None and channel.idle_since < limit
        ]
        for conversation_id in gone:
            del self.channels[conversation_id]
        return gone

    async def close(self) -> None:
        """Ends what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _cool_down(self) -> None:
        """Begins a cooldown of large fan-outs: as long as it took to begin a write to each stream that was served.

        A write costs the same whatever is in it. Without a cooldown the event loop would come back from a thousand
        writes to find one message more, and write it to a thousand: nothing is joined, and nobody else has a turn. What
        comes for large fan-outs during a cooldown is delivered together after it; while less comes, nothing waits.
        """
        self._is_cooling_down = True
        clock = self._clock
        begin_time = clock.time()

        def cool_down_as_long() -> None:  # the streams that were woken had their turn before this
            seconds = min(clock.time() - begin_time, _MAX_COOLDOWN_SECONDS)
            clock.call_later(seconds, self._end_cooldown)

        asyncio.get_running_loop().call_soon(cool_down_as_long)

    def _end_cooldown(self) -> None:
        self._is_cooling_down = False
        waiting, self._waiting = self._waiting, set()
        was_more = False
        for channel in waiting:
            was_more |= self._hand_on(channel, channel.take_parked())
        if was_more:
            self._cool_down()

    def _hand_on(self, channel: Channel, run: list[Item]) -> bool:
        """Offers a run, and has a gap behind it filled; returns whether there was a run."""
        if run:
            self._hand_on_parts(channel, run)
        if channel.has_gap:
            self._watch_gap(channel)
        return bool(run)

    def _hand_on_parts(self, channel: Channel, run: list[Item]) -> None:
        """Delivers a run in parts: an entry that has an effect ends a part, and is applied before the next part."""
        part: list[Item] = []
        size_bytes = 0
        for item in run:
            part.append(item)
            size_bytes += len(item.body)
            kind = KINDS.get(item.kind)
            if kind is not None and kind.has_effect:
                self._offer(channel, part)
                self._apply(channel, item, kind)
                part, size_bytes = [], 0
            elif size_bytes > _RUN_BYTES:
                self._offer(channel, part)
                part, size_bytes = [], 0
        if part:
            self._offer(channel, part)

    def _offer(self, channel: Channel, part: list[Item]) -> None:
        joined = part[0].body if len(part) == 1 else b"".join([item.body for item in part])
        behind: list[tuple[Session, int]] = []
        for session in channel.live:
            taken_count = session.offer(channel.conversation_id, part, joined)
            if taken_count < len(part):
                behind.append((session, part[taken_count].seq))
        if channel.live:
            self._look_at_age(part[-1])
        for session, next_seq in behind:
            channel.live.discard(session)
            channel.lagging.add(session)
            # Nobody is called: the session has no room now, and its stream asks for a replay when it has.
            session.subscriptions.fall_behind(channel.conversation_id, next_seq - 1, next_seq)

    def _look_at_age(self, item: Item) -> None:
        """Notes how old a message is that was just delivered; of many only a few, since it must be decoded for that."""
        now = self._clock.time()
        if now >= self._next_look_time:
            self._next_look_time = now + _LOOK_SECONDS
            self.delivery_seconds.observe(max(0.0, time.time() - responses.create_seconds_of(item)))

    def _apply(self, channel: Channel, item: Item, kind: Kind) -> None:
        if kind.replacement is not None:
            channel.replace(kind.replacement(item))
        if kind.membership is not None:
            self._apply_membership(channel, item, kind.membership(item.body))

    def _apply_membership(self, channel: Channel, item: Item, effect: MembershipEffect) -> None:
        for username in effect.added:
            if username in self.users:
                self._changed_memberships.note(username)
        if not effect.removed and not effect.are_all_removed:
            return
        for session in [*channel.live, *channel.lagging]:
            if not effect.are_all_removed and session.username not in effect.removed:
                continue
            if session.subscriptions.note_removal(channel.conversation_id, item.seq):
                self.leave(channel.conversation_id, session)

    def _watch_gap(self, channel: Channel) -> None:
        if channel.is_reading or channel.position < 0:
            return
        channel.is_reading = True
        task = asyncio.create_task(self._fill_gap(channel), name=f"gap {channel.conversation_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fill_gap(self, channel: Channel) -> None:
        """Waits for the bus to fill a gap, reads one that stays where it is; goes on until there is none.

        While several workers write to one conversation there is often a gap, but a new one each time: only one that
        did not move for PARK_SECONDS is read.
        """
        try:
            while channel.has_gap and self.channels.get(channel.conversation_id) is channel:
                before = channel.position
                await self._clock.sleep(PARK_SECONDS)
                if channel.position == before and channel not in self._waiting and not await self._read_gap(channel):
                    await self._clock.sleep(_RETRY_SECONDS)
        finally:
            channel.is_reading = False

    async def _read_gap(self, channel: Channel) -> bool:
        """Reads on from the position up to what was known when it began; False when there was nothing."""
        before, wanted = channel.position, channel.known_last_seq
        while channel.position < wanted:
            try:
                async with self._gap_slots:
                    self.gap_read_count += 1
                    gap = Span(channel.conversation_id, channel.position, TOP_SEQ)
                    entries = await self._messages.read_spans([gap], limit_each=_GAP_LIMIT)
            except Unavailable as error:
                _log.warning("gap not read", conversation_id=channel.conversation_id, error=str(error))
                break
            run = channel.take(map(responses.entry_item, entries))
            if not run:
                break
            self.gap_entry_count += len(run)
            self._hand_on_parts(channel, run)
        return channel.position > before
