"""A lane stores the messages of its queue, one batch after the other. Within a lane nothing overtakes.

What can go wrong, and what the lane does then:
    a conversation stays locked    its messages move to a blocked lane (`blocked_lanes.py`); the others go on
    the database refuses the data  the batch is halved until only the message at fault is refused
    a passing fault                the batch is tried again with backoff, before anything newer of the lane
    the outcome is not known       the same; what then is a duplicate was the first attempt, and readers hear of it
    the fault goes on              messages that waited too long are refused, and new ones at once but for a first one,
                                   which waits in the hope that it finds the fault gone
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

import structlog

from service.delivery.batcher import Batcher
from service.domain import errors
from service.messages.blocked_lanes import BlockedLanes
from service.messages.counts import WriterCounts
from service.messages.lane_queue import LaneQueue
from service.messages.outcomes import to_batch_outcome
from service.messages.settlements import Settlements
from service.messages.submission import Submission
from storage import errors as storage_errors
from storage.postgres.log.append import Appender
from storage.records import Stored

_log = structlog.get_logger(__name__)

# Upper bounds: when the database was away, its return ends the wait. A full disk or a lock that goes announces nothing,
# so that the last one is how long messages then wait for nothing.
_BACKOFF_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_LATER_ATTEMPT = 4  # where a batch begins that follows one that could not be stored

# Waits so many seconds before the next attempt, or less when the database is back before.
Pause: TypeAlias = Callable[[float], Awaitable[None]]
# Makes a direct conversation; returns the name of a user who does not exist, or None when the conversation is there.
MakeDirect: TypeAlias = Callable[[str], Awaitable[str | None]]


class Lane:
    """Stores the messages of one queue over one connection.

    Args:
        blocked_lanes: takes the messages of locked conversations; None: this is a blocked lane, which waits for the
            lock itself and ends when its queue is empty.
    """

    def __init__(
        self,
        queue: LaneQueue,
        connection: Appender,
        settlements: Settlements,
        counts: WriterCounts,
        *,
        make_direct: MakeDirect,
        pause: Pause,
        blocked_lanes: BlockedLanes | None = None,
    ) -> None:
        self.queue = queue
        self._connection = connection
        self._settlements = settlements
        self._counts = counts
        self._make_direct = make_direct
        self._pause = pause
        self._blocked_lanes = blocked_lanes

    async def run(self) -> None:
        """Stores batch after batch; a blocked lane returns when its queue is empty, any other lane never does."""
        try:
            if self._blocked_lanes is None:
                await self._store_all()
            else:
                await Batcher(self._store_all, filled=self.queue.filled).run()
        finally:
            self._connection.discard()

    async def _store_all(self) -> None:
        """Stores batch after batch until nothing waits."""
        queue = self.queue
        while queue.waiting:
            try:
                await self._store_patiently(queue.begin_batch())
            except Exception:  # noqa: BLE001 # whatever it is, the lane must go on for the others
                self._refuse_unforeseen(queue.in_flight)
            queue.end_batch()
            if len(queue.waiting) > 1:  # they came while the batch was in flight
                await queue.gather()

    def _refuse_unforeseen(self, batch: list[Submission]) -> None:
        incident_id = secrets.token_hex(6)
        _log.exception("batch failed", incident=incident_id, count=len(batch))
        for submission in batch:
            self._settlements.settle(submission, errors.Internal(incident_id))

    async def _store_patiently(self, batch: list[Submission]) -> None:
        """Stores a batch; tries again while the fault is a passing one and the messages may wait."""
        queue = self.queue
        attempt = 0 if queue.failing_since is None else _LATER_ATTEMPT
        while batch:
            begin = time.monotonic()
            try:
                answers = await self._connection.store([submission.draft for submission in batch])
            except storage_errors.BadData as error:
                queue.failing_since = None
                await self._halve(batch, error)
                return
            except storage_errors.LockTimeout:
                if self._blocked_lanes is not None and self._blocked_lanes.has_room:
                    await self._store_apart(batch, self._blocked_lanes)
                    return
            except storage_errors.Conflict as error:
                _log.warning("batch met another one", count=len(batch), error=str(error))
            except storage_errors.OutcomeUnknown as error:
                self._note_failure("batch outcome unknown", batch, error)
                for submission in batch:
                    submission.is_tried = True
            except storage_errors.Unavailable as error:
                self._note_failure("batch not stored", batch, error)
            else:
                queue.failing_since = None
                self._counts.commit_seconds.observe(time.monotonic() - begin)
                self._counts.batch_messages.observe(len(batch))
                await self._finish(batch, answers)
                return
            batch = queue.give_up_old(batch)
            self._counts.failure_count += 1
            if batch:
                await self._pause(_BACKOFF_SECONDS[min(attempt, len(_BACKOFF_SECONDS) - 1)])
            attempt += 1

    def _note_failure(self, event: str, batch: list[Submission], error: storage_errors.Unavailable) -> None:
        queue = self.queue
        queue.is_retrying = True
        is_known = queue.failing_since is not None
        _log.log(logging.DEBUG if is_known else logging.WARNING, event, count=len(batch), error=str(error))
        if not is_known:
            queue.failing_since = asyncio.get_running_loop().time()

    async def _halve(self, batch: list[Submission], error: storage_errors.BadData) -> None:
        if len(batch) == 1:
            _log.error("message refused by the database", conversation_id=batch[0].draft.conversation_id)
            refusal = errors.InvalidRequest("request", "has content that the database can't hold")
            refusal.__cause__ = error
            self._settlements.settle(batch[0], refusal)
            return
        middle = len(batch) // 2
        await self._store_patiently(batch[:middle])
        # A conversation that went to a blocked lane took its messages of the other half along, so that none overtakes.
        here = {id(submission) for submission in self.queue.in_flight}
        await self._store_patiently([submission for submission in batch[middle:] if id(submission) in here])

    async def _store_apart(self, batch: list[Submission], blocked_lanes: BlockedLanes) -> None:
        """After a lock time-out: stores each conversation of the batch by itself; a locked one gets a blocked lane."""
        parts = _by_conversation(batch)
        if len(parts) == 1:
            (conversation_id,) = parts
            blocked_lanes.put(conversation_id, self.queue.take_out(conversation_id))
            return
        for part in parts.values():
            await self._store_patiently(part)

    async def _finish(self, batch: list[Submission], answers: list[Stored]) -> None:
        """Announces a stored batch to readers and senders; makes direct conversations that were missing."""
        outcome = to_batch_outcome(batch, answers)
        self._settlements.finish(outcome)
        if outcome.missing:
            await self._store_in_new_directs(outcome.missing)

    async def _store_in_new_directs(self, missing: list[Submission]) -> None:
        """Makes the direct conversations of messages, then stores them; refuses messages to unknown users."""
        for conversation_id, part in _by_conversation(missing).items():
            refusal: errors.ParleyError
            try:
                unknown_user = await self._make_direct(conversation_id)
            except storage_errors.Unavailable:
                refusal = errors.DatabaseUnavailable()
            else:
                if unknown_user is None:
                    await self._store_patiently(part)
                    continue
                refusal = errors.UserNotFound(unknown_user)
            for submission in part:
                self._settlements.settle(submission, refusal)


def _by_conversation(submissions: Iterable[Submission]) -> dict[str, list[Submission]]:
    parts: dict[str, list[Submission]] = {}
    for submission in submissions:
        parts.setdefault(submission.draft.conversation_id, []).append(submission)
    return parts
