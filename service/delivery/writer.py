"""Group commit: messages to store become batches, batches become one call each.

Conversations hash to a few lanes. A lane has one batch in flight; what arrives meanwhile becomes the next one, so there
is no timer and no added wait when idle. Within a lane nothing overtakes: that keeps the order of each stream's sends.
Full: `submit` refuses with Overloaded at once and nothing of the frame is taken.

A lane deals with what goes wrong like this:
    a conversation stays locked    it leaves the batch and waits alone, on a siding; the others go on
    the database refuses the data  the batch is halved until only the culprit is refused
    a passing fault                tried again with backoff, before anything newer of the lane
    an outcome is not known        the same; what then turns out to be a duplicate was our own, and is published again
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from zlib import crc32

import structlog

from service import errors
from service.checks import direct_members
from service.delivery.submission import Submission
from storage import errors as storage_errors
from storage.postgres.lanes import LaneConnection
from storage.records import Outcome, Stored

_log = structlog.get_logger(__name__)

MAX_BATCH = 500
MAX_BATCH_BYTES = 4 * 1024 * 1024
# How long the writer tries before it gives a message back.
GIVE_UP_SECONDS = 10.0
_BACKOFF_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5)

# Tells whoever delivers: the messages of one committed batch, in the order of their conversations' seqs.
Announce = Callable[[Sequence[tuple[Submission, Stored]]], None]
# Makes a direct conversation; gives the name of a user who does not exist, or None when it is there.
EnsureDirect = Callable[[str], Awaitable[str | None]]


class Writer:
    """All lanes of a worker.

    Args:
        connect: makes the connection of a lane, given how long it may wait for a locked conversation in ms.
        lane_count: lanes.
        announce: called after each commit.
        ensure_direct: makes direct conversations at their first send.
        announce_members: tells their users of them.
        max_queued: messages that may wait.
    """

    def __init__(
        self,
        connect: Callable[[int], LaneConnection],
        *,
        lane_count: int,
        announce: Announce,
        ensure_direct: EnsureDirect,
        announce_members: Callable[[Sequence[str]], None],
        max_queued: int,
    ) -> None:
        self._connect = connect
        self._announce = announce
        self._ensure_direct = ensure_direct
        self._announce_members = announce_members
        self._max_queued = max_queued
        self._lanes = [Lane(self, connect(250)) for _ in range(lane_count)]
        self._sidings: dict[str, Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self._emptied = asyncio.Event()
        self.queued_count = 0

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
        for lane in (*self._lanes, *self._sidings.values()):
            lane.abandon()

    def submit(self, submissions: Sequence[Submission]) -> None:
        """Takes messages; their tickets hear of them after their commit or refusal.

        Raises:
            Overloaded: too many wait already; none of these is taken.
            ShuttingDown: the server is on its way out.
        """
        if self._is_closing:
            raise errors.ShuttingDown
        if self.queued_count + len(submissions) > self._max_queued:
            raise errors.Overloaded("messages waiting to be stored")
        now = asyncio.get_running_loop().time()
        self.queued_count += len(submissions)
        for submission in submissions:
            submission.submit_time = now
            self._lane_of(submission.draft.conversation_id).put(submission)

    def settle(self, submission: Submission, outcome: Stored | errors.ParleyError) -> None:
        """Tells a ticket, once and for all."""
        if submission.is_settled:
            return
        submission.is_settled = True
        self.queued_count -= 1
        if self._is_closing and not self.queued_count:
            self._emptied.set()
        submission.ticket.settle(submission.index, outcome)

    def side_track(self, submissions: Sequence[Submission]) -> None:
        """Lets the messages of a locked conversation wait alone; later ones to it go behind them."""
        for submission in submissions:
            conversation_id = submission.draft.conversation_id
            siding = self._sidings.get(conversation_id)
            if siding is None:
                siding = Lane(self, self._connect(2000), siding_of=conversation_id)
                self._sidings[conversation_id] = siding
                self._run(siding, f"siding {conversation_id}")
            siding.put(submission)

    def _lane_of(self, conversation_id: str) -> "Lane":
        if self._sidings and (siding := self._sidings.get(conversation_id)) is not None:
            return siding
        return self._lanes[crc32(conversation_id.encode()) % len(self._lanes)]

    def close_siding(self, conversation_id: str) -> None:
        """The conversation has nothing left on its siding: the next message takes the lane again."""
        del self._sidings[conversation_id]

    def _run(self, lane: "Lane", name: str) -> None:
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


class Lane:
    """A queue with one batch in flight.

    Args:
        siding_of: the locked conversation that this lane is there for alone; it ends when it has nothing left.
    """

    def __init__(self, writer: Writer, connection: LaneConnection, *, siding_of: str | None = None) -> None:
        self._writer = writer
        self._connection = connection
        self._siding_of = siding_of
        self._queue: deque[Submission] = deque()
        self._filled = asyncio.Event()
        self._in_flight: list[Submission] = []

    def put(self, submission: Submission) -> None:
        """Adds a message at the end."""
        self._queue.append(submission)
        self._filled.set()

    async def run(self) -> None:
        """Stores batch after batch."""
        try:
            while True:
                if not self._queue:
                    if self._siding_of is not None:
                        self._writer.close_siding(self._siding_of)
                        return
                    self._filled.clear()
                    await self._filled.wait()
                self._in_flight = self._take_batch()
                try:
                    await self._store_patiently(self._in_flight)
                except Exception:  # noqa: BLE001 # whatever it is, the lane must go on for the others
                    self._refuse_unforeseen(self._in_flight)
                self._in_flight = []
        finally:
            self._connection.discard()

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
            if submission.deadline is not None and submission.deadline < now:
                self._writer.settle(submission, errors.DeadlinePassed())
                continue
            size_bytes += submission.draft.size_bytes
            batch.append(submission)
        return batch

    async def _store_patiently(self, batch: list[Submission]) -> None:
        """Stores a batch; tries again while the fault is a passing one and the messages may wait."""
        attempt = 0
        while batch:
            try:
                answers = await self._connection.store([submission.draft for submission in batch])
            except storage_errors.BadData as error:
                await self._halve(batch, error)
                return
            except storage_errors.LockTimeout:
                if self._siding_of is None:
                    await self._store_apart(batch)
                    return
                batch = self._give_up_old(batch)
            except storage_errors.OutcomeUnknown as error:
                _log.warning("batch outcome unknown", count=len(batch), error=str(error))
                for submission in batch:
                    submission.is_tried = True
                batch = self._give_up_old(batch)
            except storage_errors.Unavailable as error:
                _log.warning("batch not stored", count=len(batch), error=str(error))
                batch = self._give_up_old(batch)
            else:
                await self._finish(batch, answers)
                return
            await asyncio.sleep(_BACKOFF_SECONDS[min(attempt, len(_BACKOFF_SECONDS) - 1)])
            attempt += 1

    async def _halve(self, batch: list[Submission], error: storage_errors.BadData) -> None:
        if len(batch) == 1:
            _log.error("message refused by the database", conversation_id=batch[0].draft.conversation_id)
            refusal = errors.InvalidRequest("request", "has content that the database can't hold")
            refusal.__cause__ = error
            self._writer.settle(batch[0], refusal)
            return
        middle = len(batch) // 2
        await self._store_patiently(batch[:middle])
        await self._store_patiently(batch[middle:])

    async def _store_apart(self, batch: list[Submission]) -> None:
        """After a lock time-out: each conversation of the batch by itself, the locked ones on a siding."""
        by_conversation: dict[str, list[Submission]] = {}
        for submission in batch:
            by_conversation.setdefault(submission.draft.conversation_id, []).append(submission)
        if len(by_conversation) == 1:
            self._writer.side_track(batch + self._take_queued(batch[0].draft.conversation_id))
            return
        for part in by_conversation.values():
            await self._store_patiently(part)

    def _take_queued(self, conversation_id: str) -> list[Submission]:
        """Takes what already waits behind for a conversation that leaves this lane."""
        taken = [submission for submission in self._queue if submission.draft.conversation_id == conversation_id]
        self._queue = deque(
            submission for submission in self._queue if submission.draft.conversation_id != conversation_id
        )
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
        for submission, answer in zip(batch, answers, strict=True):
            if answer.outcome is Outcome.NO_CONVERSATION and ":" in submission.draft.conversation_id:
                missing.append(submission)
                continue
            outcome = _to_outcome(submission, answer)
            if isinstance(outcome, Stored) and outcome.outcome is Outcome.STORED:
                stored.append((submission, outcome))
            settled.append((submission, outcome))
        if stored:
            self._writer.announce(stored)
        for submission, outcome in settled:
            self._writer.settle(submission, outcome)
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
