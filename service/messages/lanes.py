"""A lane: a queue of messages with one batch in flight. Within a lane nothing overtakes.

It deals with what goes wrong like this:
    a conversation stays locked    it leaves the batch and waits alone, on a blocked lane; the others go on
    the database refuses the data  the batch is halved until only the culprit is refused
    a passing fault                tried again with backoff, before anything newer of the lane
    an outcome is not known        the same; what then turns out to be a duplicate was our own, and is published again
    the fault goes on              what waited too long is given back, and new messages are refused at once but for a
                                   first one, which waits in the hope that it finds the fault gone
"""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from service.delivery.submission import Submission
from service.domain import errors
from storage import errors as storage_errors
from storage.postgres.log.append import Appender
from storage.records import Outcome, Stored

if TYPE_CHECKING:  # the writer makes its lanes, and they ask it back
    from service.messages.writer import Writer

_log = structlog.get_logger(__name__)

MAX_BATCH = 500
MAX_BATCH_BYTES = 4 * 1024 * 1024
# How long a message is tried before it is given back.
GIVE_UP_SECONDS = 10.0
# A lane that has stored nothing for this long takes no more than it tries.
REFUSE_SECONDS = 5.0
# Upper bounds: when the database was away, its return ends the wait. A full disk or a lock that goes announces nothing,
# so that the last one is how long messages then wait for nothing.
_BACKOFF_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_LATER_ATTEMPT = 4  # where a batch begins that follows one that could not be stored
# A crowded lane begins its next batch when it has this many messages, when this many turns of the event loop brought
# it nothing, or when the time is up. What a batch costs whatever its size, some 0.7 ms of both sides, is then divided
# by more; beyond so many that gains less than it loses to have the database wait.
_ENOUGH = 64
_EMPTY_TURNS = 4
_GATHER_SECONDS = 0.003


class Lane:
    """A queue with one batch in flight.

    Args:
        blocked_lane_of: the locked conversation that this lane is there for alone; it ends when it has nothing left.
    """

    def __init__(self, writer: "Writer", connection: Appender, *, blocked_lane_of: str | None = None) -> None:
        self._writer = writer
        self._connection = connection
        self._blocked_lane_of = blocked_lane_of
        self._queue: deque[Submission] = deque()
        self._filled = asyncio.Event()
        self._in_flight: list[Submission] = []
        self._failing_since: float | None = None  # on the event loop's clock
        self._is_retrying = False  # what is in flight has failed once at least

    def is_refusing(self, now: float) -> bool:
        """Whether a message had better not be put here: nothing could be stored for a while, and still can't."""
        return self._is_retrying and self._failing_since is not None and now - self._failing_since >= REFUSE_SECONDS

    def put(self, submissions: Sequence[Submission]) -> None:
        """Adds messages at the end."""
        self._queue.extend(submissions)
        self._filled.set()

    async def run(self) -> None:
        """Stores batch after batch."""
        try:
            while True:
                if not self._queue:
                    if self._blocked_lane_of is not None:
                        self._writer.close_blocked_lane(self._blocked_lane_of)
                        return
                    self._filled.clear()
                    await self._filled.wait()
                elif len(self._queue) > 1:  # a crowd: it came while a batch was in flight
                    await self._gather()
                self._in_flight = self._take_batch()
                try:
                    await self._store_patiently(self._in_flight)
                except Exception:  # noqa: BLE001 # whatever it is, the lane must go on for the others
                    self._refuse_unforeseen(self._in_flight)
                self._in_flight = []
                self._is_retrying = False
        finally:
            self._connection.discard()

    async def _gather(self) -> None:
        """Lets those come that are on their way: the loop has their bytes, or they answer to the batch just stored."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _GATHER_SECONDS
        empty_turns = 0
        while empty_turns < _EMPTY_TURNS and len(self._queue) < _ENOUGH and loop.time() < deadline:
            count = len(self._queue)
            await asyncio.sleep(0)
            empty_turns = empty_turns + 1 if len(self._queue) == count else 0

    def abandon(self) -> None:
        """Gives back what was not stored when the server ends."""
        for submission in self._in_flight:
            self._writer.settle(submission, errors.RetryExhausted())
        for submission in self._queue:
            self._writer.settle(submission, errors.ShuttingDown())
        self._in_flight = []
        self._queue.clear()

    def _refuse_unforeseen(self, batch: list[Submission]) -> None:
        incident_id = secrets.token_hex(6)
        _log.exception("batch failed", incident=incident_id, count=len(batch))
        for submission in batch:
            self._writer.settle(submission, errors.Internal(incident_id))

    def _take_batch(self) -> list[Submission]:
        now = asyncio.get_running_loop().time()
        batch: list[Submission] = []
        size_bytes = 0
        while self._queue and len(batch) < MAX_BATCH and size_bytes < MAX_BATCH_BYTES:
            submission = self._queue.popleft()
            if submission.deadline is not None and submission.deadline <= now:
                self._writer.settle(submission, errors.DeadlinePassed())
                continue
            if self._failing_since is not None and now - submission.submit_time >= GIVE_UP_SECONDS:
                self._writer.settle(submission, errors.DatabaseUnavailable())
                continue
            size_bytes += submission.draft.size_bytes
            batch.append(submission)
        if batch:
            self._writer.counts.wait_seconds.observe(now - batch[0].submit_time)
        return batch

    async def _store_patiently(self, batch: list[Submission]) -> None:
        """Stores a batch; tries again while the fault is a passing one and the messages may wait."""
        attempt = 0 if self._failing_since is None else _LATER_ATTEMPT
        counts = self._writer.counts
        while batch:
            begin = time.monotonic()
            try:
                answers = await self._connection.store([submission.draft for submission in batch])
            except storage_errors.BadData as error:
                self._failing_since = None
                await self._halve(batch, error)
                return
            except storage_errors.LockTimeout:
                if self._blocked_lane_of is None and self._writer.has_blocked_lane_room:
                    await self._store_apart(batch)
                    return
                batch = self._give_up_old(batch)
            except storage_errors.Conflict as error:
                _log.warning("batch met another one", count=len(batch), error=str(error))
                batch = self._give_up_old(batch)
            except storage_errors.OutcomeUnknown as error:
                self._note_failure("batch outcome unknown", batch, error)
                for submission in batch:
                    submission.is_tried = True
                batch = self._give_up_old(batch)
            except storage_errors.Unavailable as error:
                self._note_failure("batch not stored", batch, error)
                batch = self._give_up_old(batch)
            else:
                self._failing_since = None
                counts.commit_seconds.observe(time.monotonic() - begin)
                counts.batch_messages.observe(len(batch))
                await self._finish(batch, answers)
                return
            counts.failure_count += 1
            if batch:
                await self._writer.pause(_BACKOFF_SECONDS[min(attempt, len(_BACKOFF_SECONDS) - 1)])
            attempt += 1

    def _note_failure(self, event: str, batch: list[Submission], error: storage_errors.Unavailable) -> None:
        self._is_retrying = True
        is_known = self._failing_since is not None
        _log.log(logging.DEBUG if is_known else logging.WARNING, event, count=len(batch), error=str(error))
        if not is_known:
            self._failing_since = asyncio.get_running_loop().time()

    async def _halve(self, batch: list[Submission], error: storage_errors.BadData) -> None:
        if len(batch) == 1:
            _log.error("message refused by the database", conversation_id=batch[0].draft.conversation_id)
            refusal = errors.InvalidRequest("request", "has content that the database can't hold")
            refusal.__cause__ = error
            self._writer.settle(batch[0], refusal)
            return
        middle = len(batch) // 2
        await self._store_patiently(batch[:middle])
        # A conversation that went to a blocked lane took its messages of the other half along, so that none overtakes.
        here = {id(submission) for submission in self._in_flight}
        await self._store_patiently([submission for submission in batch[middle:] if id(submission) in here])

    async def _store_apart(self, batch: list[Submission]) -> None:
        """After a lock time-out: each conversation of the batch by itself, the locked ones on a blocked lane."""
        by_conversation: dict[str, list[Submission]] = {}
        for submission in batch:
            by_conversation.setdefault(submission.draft.conversation_id, []).append(submission)
        if len(by_conversation) == 1:
            self._writer.side_track(self._take_out(batch[0].draft.conversation_id))
            return
        for part in by_conversation.values():
            await self._store_patiently(part)

    def _take_out(self, conversation_id: str) -> list[Submission]:
        """Takes all of a conversation that leaves this lane, in order: what is in flight, then what waits behind it."""
        taken = [
            submission
            for submission in (*self._in_flight, *self._queue)
            if submission.draft.conversation_id == conversation_id and not submission.is_settled
        ]
        gone = {id(submission) for submission in taken}
        self._in_flight = [submission for submission in self._in_flight if id(submission) not in gone]
        self._queue = deque(submission for submission in self._queue if id(submission) not in gone)
        return taken

    def _give_up_old(self, batch: list[Submission]) -> list[Submission]:
        """Gives back what waited too long; returns the rest."""
        now = asyncio.get_running_loop().time()
        rest = []
        for submission in batch:
            if now - submission.submit_time < GIVE_UP_SECONDS:
                rest.append(submission)
            elif submission.is_tried:
                self._writer.settle(submission, errors.RetryExhausted())
            else:
                self._writer.settle(submission, errors.DatabaseUnavailable())
        return rest

    async def _finish(self, batch: list[Submission], answers: list[Stored]) -> None:
        """Publishes what was committed, then tells the senders; makes direct conversations that were missing."""
        stored: list[tuple[Submission, Stored]] = []
        missing: list[Submission] = []
        settled: list[tuple[Submission, Stored | errors.ParleyError]] = []
        new: set[tuple[str, int]] = set()
        is_retry = any(submission.is_tried for submission in batch)
        for submission, answer in zip(batch, answers, strict=True):
            if answer.outcome is Outcome.STORED and not is_retry:  # nearly always
                stored.append((submission, answer))
                settled.append((submission, answer))
                continue
            if answer.outcome is Outcome.NO_CONVERSATION and ":" in submission.draft.conversation_id:
                missing.append(submission)
                continue
            outcome = _to_outcome(submission, answer)
            if isinstance(outcome, Stored) and outcome.outcome is Outcome.STORED:
                place = (submission.draft.conversation_id, outcome.seq)
                if place in new:  # a repeat within a batch that a lost attempt had stored
                    outcome = Stored(Outcome.DUPLICATE, outcome.seq, outcome.create_time)
                else:
                    new.add(place)
                    stored.append((submission, outcome))
            settled.append((submission, outcome))
        counts = self._writer.counts
        counts.accepted_count += len(stored)
        if len(settled) > len(stored):
            counts.deduplicated_count += sum(
                isinstance(outcome, Stored) and outcome.outcome is Outcome.DUPLICATE for _, outcome in settled
            )
        if stored:
            self._writer.announce(stored)
        self._writer.settle_all(settled)
        if missing:
            await self._make_directs(missing)

    async def _make_directs(self, missing: list[Submission]) -> None:
        by_conversation: dict[str, list[Submission]] = {}
        for submission in missing:
            by_conversation.setdefault(submission.draft.conversation_id, []).append(submission)
        for conversation_id, part in by_conversation.items():
            refusal: errors.ParleyError
            try:
                unknown_user = await self._writer.make_direct(conversation_id)
            except storage_errors.Unavailable:
                refusal = errors.DatabaseUnavailable()
            else:
                if unknown_user is None:
                    await self._store_patiently(part)
                    continue
                refusal = errors.UserNotFound(unknown_user)
            for submission in part:
                self._writer.settle(submission, refusal)


def _to_outcome(submission: Submission, answer: Stored) -> Stored | errors.ParleyError:
    """What a sender hears of an answer of the database."""
    draft = submission.draft
    match answer.outcome:
        case Outcome.DUPLICATE if submission.is_tried:  # our own attempt, whose answer did not come
            return Stored(Outcome.STORED, answer.seq, answer.create_time)
        case Outcome.STORED | Outcome.DUPLICATE:
            return answer
        case Outcome.REUSED:
            return errors.RequestIdReused(draft.request_id)
        case Outcome.ROLE_TOO_LOW:
            return errors.RoleTooLow("send messages", "READER")
        case Outcome.REPLY_NOT_FOUND:
            return errors.ReplyNotFound(draft.reply_to_seq)
        case Outcome.NO_CONVERSATION | Outcome.NOT_A_MEMBER:
            return errors.ConversationNotFound(draft.conversation_id)
