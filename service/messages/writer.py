"""Group commit: messages to store become batches, and each batch becomes one call of the database.

Conversations hash to the lanes; one lane is usual. A lane has one batch in flight. What arrives meanwhile becomes the
next batch, so there is no added wait when idle. When a few messages wait, the next batch begins as soon as no more
come, or 3 ms later. Within a lane nothing overtakes: that keeps the order of each stream's sends.
Full: `submit` refuses with Overloaded at once, and takes nothing of the frame. It does the same with
DatabaseUnavailable where nothing could be stored for a while.
`lanes.py` says how a lane deals with what goes wrong.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from zlib import crc32

import structlog

from service.domain import errors
from service.domain.checks import direct_members
from service.messages.blocked_lanes import BlockedLanes
from service.messages.budget import Budget
from service.messages.counts import WriterCounts
from service.messages.lane_queue import LaneQueue
from service.messages.lanes import Lane, MakeDirect, Pause
from service.messages.settlements import Publish, Settlements
from service.messages.submission import Submission
from storage.postgres.log.append import Appender

_log = structlog.get_logger(__name__)

# How long a lane waits for a conversation that another transaction holds, and a blocked lane.
_LANE_LOCK_MS = 250
_BLOCKED_LANE_LOCK_MS = 2000


class Writer:
    """All lanes of a worker.

    Args:
        connect: makes the connection of a lane; its argument is how long it may wait for a locked conversation, in ms.
        lane_count: how many lanes there are, without blocked lanes.
        publish: called after each commit with the new entries by conversation.
        ensure_direct: makes direct conversations at their first send.
        announce_members: called with the users of a direct conversation that was made.
        max_queued: how many messages may wait.
        pause: waits before the next attempt.

    Attributes:
        counts: for the metrics.
        settlements: tells readers and senders what became of messages.
    """

    def __init__(
        self,
        connect: Callable[[int], Appender],
        *,
        lane_count: int,
        publish: Publish,
        ensure_direct: MakeDirect,
        announce_members: Callable[[Sequence[str]], None],
        max_queued: int,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._connect = connect
        self._ensure_direct = ensure_direct
        self._announce_members = announce_members
        self._pause = pause
        self._budget = Budget(max_queued)
        self.counts = WriterCounts()
        self.settlements = Settlements(self._budget, self.counts, publish)
        self._blocked_lanes = BlockedLanes(self._begin_blocked_lane)
        self._lanes = [self._make_lane(_LANE_LOCK_MS, self._blocked_lanes) for _ in range(lane_count)]
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False

    @property
    def blocked_lane_count(self) -> int:
        """How many conversations have a blocked lane."""
        return len(self._blocked_lanes)

    @property
    def queued_count(self) -> int:
        """How many messages wait, those in flight among them."""
        return self._budget.count

    def start(self) -> None:
        """Starts the lanes."""
        for number, lane in enumerate(self._lanes):
            self._run(lane.run(), f"lane {number}")

    async def close(self, timeout_seconds: float) -> None:
        """Stores what waits, up to the time limit, and ends the lanes; what is left is refused with ShuttingDown."""
        self._is_closing = True
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.settlements.wait_until_empty()
        except TimeoutError:
            _log.warning("messages not stored at shutdown", count=self.queued_count)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for queue in (*(lane.queue for lane in self._lanes), *self._blocked_lanes):
            queue.abandon()

    def submit(self, submissions: Sequence[Submission]) -> None:
        """Takes messages; their tickets get the outcomes after the commit or the refusal.

        Raises:
            Overloaded: too much waits already, in all or of their sender; none of these is taken.
            DatabaseUnavailable: nothing could be stored for a while, and what waits is enough; none is taken.
            ShuttingDown: the server is about to end.
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
        runs: list[tuple[LaneQueue, list[Submission]]] = []
        last_id = None
        for submission in submissions:
            submission.submit_time = now
            if (conversation_id := submission.draft.conversation_id) == last_id:
                runs[-1][1].append(submission)
                continue
            last_id = conversation_id
            queue = self._queue_of(conversation_id)
            if queue.is_refusing(now):
                raise errors.DatabaseUnavailable
            runs.append((queue, [submission]))
        self._budget.take(submissions)
        for queue, run in runs:
            queue.put(run)

    def _queue_of(self, conversation_id: str) -> LaneQueue:
        if self._blocked_lanes and (queue := self._blocked_lanes.find(conversation_id)) is not None:
            return queue
        return self._lanes[crc32(conversation_id.encode()) % len(self._lanes)].queue

    def _make_lane(self, lock_timeout_ms: int, blocked_lanes: BlockedLanes | None) -> Lane:
        return Lane(
            LaneQueue(self.settlements, self.counts),
            self._connect(lock_timeout_ms),
            self.settlements,
            self.counts,
            make_direct=self._make_direct,
            pause=self._pause,
            blocked_lanes=blocked_lanes,
        )

    def _begin_blocked_lane(self, conversation_id: str) -> LaneQueue:
        lane = self._make_lane(_BLOCKED_LANE_LOCK_MS, None)
        self._run(self._run_blocked_lane(conversation_id, lane), f"blocked lane {conversation_id}")
        return lane.queue

    async def _run_blocked_lane(self, conversation_id: str, lane: Lane) -> None:
        await lane.run()
        self._blocked_lanes.end(conversation_id)  # in the same step of the event loop in which the queue was empty

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make_direct(self, conversation_id: str) -> str | None:
        """Makes a direct conversation and tells its users; returns the name of a user who does not exist."""
        unknown_user = await self._ensure_direct(conversation_id)
        if unknown_user is None:
            self._announce_members(direct_members(conversation_id))
        return unknown_user
