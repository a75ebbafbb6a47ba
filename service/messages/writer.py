"""Group commit: messages to store become batches, batches become one call each.

Conversations hash to the lanes, of which one is usual. A lane has one batch in flight; what arrives meanwhile becomes
the next one, so there is no added wait when idle. When a few wait, the next batch begins as soon as no more come, or
3 ms later. Within a lane nothing overtakes: that keeps the order of each stream's sends.
Full: `submit` refuses with Overloaded at once and nothing of the frame is taken; the same, with DatabaseUnavailable,
where nothing could be stored for a while.
`lanes.py` says how a lane deals with what goes wrong.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from zlib import crc32

import structlog

from service.delivery.submission import Submission
from service.domain import errors
from service.domain.checks import direct_members
from service.messages.budget import Budget
from service.messages.lanes import Lane
from service.metrics.histogram import MESSAGES, SECONDS, Histogram
from storage.postgres.log.append import Appender
from storage.records import Stored

_log = structlog.get_logger(__name__)

# How long a lane waits for a conversation that another transaction holds, and a blocked lane.
_LANE_LOCK_MS = 250
_BLOCKED_LANE_LOCK_MS = 2000
# Each blocked lane holds a connection of its own; beyond these a locked conversation holds up its lane.
_MAX_BLOCKED_LANES = 8

# Tells whoever delivers: the messages of one committed batch, in the order of their conversations' seqs.
Announce = Callable[[Sequence[tuple[Submission, Stored]]], None]
# Makes a direct conversation; gives the name of a user who does not exist, or None when it is there.
EnsureDirect = Callable[[str], Awaitable[str | None]]


class WriterCounts:
    """What became of messages and batches.

    Attributes:
        refused: messages by the reason.
        batch_messages: messages of a batch.
        commit_seconds: of the calls that succeeded.
        wait_seconds: how long the oldest message of a batch had waited.
        failure_count: calls that failed and were tried again.
    """

    def __init__(self) -> None:
        self.accepted_count = 0
        self.deduplicated_count = 0
        self.refused: Counter[str] = Counter()
        self.batch_messages = Histogram(MESSAGES)
        self.commit_seconds = Histogram(SECONDS)
        self.wait_seconds = Histogram(SECONDS)
        self.failure_count = 0


class Writer:
    """All lanes of a worker.

    Args:
        connect: makes the connection of a lane, given how long it may wait for a locked conversation in ms.
        lane_count: lanes.
        announce: called after each commit.
        ensure_direct: makes direct conversations at their first send.
        announce_members: tells their users of them.
        max_queued: messages that may wait.
        pause: waits so many seconds before the next attempt, or less when the database is back before.
    """

    def __init__(
        self,
        connect: Callable[[int], Appender],
        *,
        lane_count: int,
        announce: Announce,
        ensure_direct: EnsureDirect,
        announce_members: Callable[[Sequence[str]], None],
        max_queued: int,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connect = connect
        self._announce = announce
        self._ensure_direct = ensure_direct
        self._announce_members = announce_members
        self.pause = pause
        self._budget = Budget(max_queued)
        self._lanes = [Lane(self, connect(_LANE_LOCK_MS)) for _ in range(lane_count)]
        self._blocked_lanes: dict[str, Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self._emptied = asyncio.Event()
        self.counts = WriterCounts()

    @property
    def blocked_lane_count(self) -> int:
        """How many conversations wait alone."""
        return len(self._blocked_lanes)

    @property
    def queued_count(self) -> int:
        """How many messages wait."""
        return self._budget.count

    def start(self) -> None:
        """Starts the lanes."""
        for number, lane in enumerate(self._lanes):
            self._run(lane, f"lane {number}")

    async def close(self, timeout_seconds: float) -> None:
        """Stores what waits, up to the time limit, and ends the lanes; what is left gets SHUTTING_DOWN."""
        self._is_closing = True
        if not self.queued_count:
            self._emptied.set()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._emptied.wait()
        except TimeoutError:
            _log.warning("messages not stored at shutdown", count=self.queued_count)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in (*self._lanes, *self._blocked_lanes.values()):
            lane.abandon()

    def submit(self, submissions: Sequence[Submission]) -> None:
        """Takes messages; their tickets hear of them after their commit or refusal.

        Raises:
            Overloaded: too much waits already, in all or of their sender; none of these is taken.
            DatabaseUnavailable: nothing could be stored for a while, and what waits is enough; none is taken.
            ShuttingDown: the server is on its way out.
        """
        try:
            self._admit(submissions)
        except errors.ParleyError as refusal:
            self.counts.refused[refusal.reason] += len(submissions)
            raise

    def _admit(self, submissions: Sequence[Submission]) -> None:
        if self._is_closing:
            raise errors.ShuttingDown
        now = asyncio.get_running_loop().time()
        runs: list[tuple[Lane, list[Submission]]] = []
        last_id = None
        for submission in submissions:
            submission.submit_time = now
            if (conversation_id := submission.draft.conversation_id) == last_id:
                runs[-1][1].append(submission)
                continue
            last_id = conversation_id
            lane = self._lane_of(conversation_id)
            if lane.is_refusing(now):
                raise errors.DatabaseUnavailable
            runs.append((lane, [submission]))
        self._budget.take(submissions)
        for lane, run in runs:
            lane.put(run)

    def settle(self, submission: Submission, outcome: Stored | errors.ParleyError) -> None:
        """Tells a ticket, once and for all."""
        self.settle_all([(submission, outcome)])

    def settle_all(self, outcomes: Sequence[tuple[Submission, Stored | errors.ParleyError]]) -> None:
        """Tells the tickets of several messages; those that have heard already are left out."""
        open_ones = [pair for pair in outcomes if not pair[0].is_settled]
        for submission, outcome in open_ones:
            submission.is_settled = True
            if isinstance(outcome, errors.ParleyError):
                self.counts.refused[outcome.reason] += 1
        self._budget.give_back([submission for submission, _ in open_ones])  # whatever the tickets do
        if self._is_closing and not self.queued_count:
            self._emptied.set()
        for submission, outcome in open_ones:
            submission.ticket.settle(submission.index, outcome)

    def side_track(self, submissions: Sequence[Submission]) -> None:
        """Lets the messages of a locked conversation wait alone; later ones to it go behind them."""
        for submission in submissions:
            conversation_id = submission.draft.conversation_id
            lane = self._blocked_lanes.get(conversation_id)
            if lane is None:
                lane = Lane(self, self._connect(_BLOCKED_LANE_LOCK_MS), blocked_lane_of=conversation_id)
                self._blocked_lanes[conversation_id] = lane
                self._run(lane, f"blocked lane {conversation_id}")
            lane.put([submission])

    def _lane_of(self, conversation_id: str) -> Lane:
        if self._blocked_lanes and (lane := self._blocked_lanes.get(conversation_id)) is not None:
            return lane
        return self._lanes[crc32(conversation_id.encode()) % len(self._lanes)]

    @property
    def has_blocked_lane_room(self) -> bool:
        """Whether one more locked conversation may wait alone."""
        return len(self._blocked_lanes) < _MAX_BLOCKED_LANES

    def close_blocked_lane(self, conversation_id: str) -> None:
        """The conversation has nothing left on its blocked lane: the next message takes the lane again."""
        del self._blocked_lanes[conversation_id]

    def _run(self, lane: Lane, name: str) -> None:
        task = asyncio.create_task(lane.run(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def make_direct(self, conversation_id: str) -> str | None:
        """Makes a direct conversation; gives the name of a user who does not exist."""
        unknown_user = await self._ensure_direct(conversation_id)
        if unknown_user is None:
            self._announce_members(direct_members(conversation_id))
        return unknown_user

    def announce(self, stored: Sequence[tuple[Submission, Stored]]) -> None:
        """Hands committed messages to delivery."""
        self._announce(stored)
