"""The messages of one lane: those that wait, those in flight, and whether the lane makes progress.

Within a queue nothing overtakes. `lanes.py` stores what is in it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from service.domain import errors
from service.messages.counts import WriterCounts
from service.messages.settlements import Settlements
from service.messages.submission import Submission

MAX_BATCH = 500
MAX_BATCH_BYTES = 4 * 1024 * 1024
# How long a message is tried before it is refused.
GIVE_UP_SECONDS = 10.0
# A lane that has stored nothing for this long takes no more than it tries.
REFUSE_SECONDS = 5.0
# A lane with several messages begins its next batch when it has this many, when this many turns of the event loop
# brought nothing more, or when the time is up. What a batch costs whatever its size, some 0.7 ms of both sides, is then
# divided by more messages; beyond so many that gains less than it loses to have the database wait.
_ENOUGH = 64
_EMPTY_TURNS = 4
_GATHER_SECONDS = 0.003


class LaneQueue:
    """A queue with one batch in flight. The writer's budget bounds how much waits.

    Attributes:
        waiting: the messages behind the current batch; empty when there are none.
        filled: set when messages were put.
        in_flight: the messages of the current batch that belong to this lane.
        failing_since: when storing began to fail, on the event loop's clock; None after a success.
        is_retrying: the messages in flight have failed at least once.
    """

    def __init__(self, settlements: Settlements, counts: WriterCounts) -> None:
        self._settlements = settlements
        self._counts = counts
        self.waiting: deque[Submission] = deque()
        self.filled = asyncio.Event()
        self.in_flight: list[Submission] = []
        self.failing_since: float | None = None
        self.is_retrying = False

    def is_refusing(self, now: float) -> bool:
        """Returns whether new messages should be refused: nothing could be stored for a while, and still can't."""
        return self.is_retrying and self.failing_since is not None and now - self.failing_since >= REFUSE_SECONDS

    def put(self, submissions: Sequence[Submission]) -> None:
        """Adds messages at the end."""
        self.waiting.extend(submissions)
        self.filled.set()

    async def gather(self) -> None:
        """Lets messages come that are on their way: the event loop has their bytes, or they answer the last batch."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _GATHER_SECONDS
        empty_turns = 0
        while empty_turns < _EMPTY_TURNS and len(self.waiting) < _ENOUGH and loop.time() < deadline:
            count = len(self.waiting)
            await asyncio.sleep(0)
            empty_turns = empty_turns + 1 if len(self.waiting) == count else 0

    def begin_batch(self) -> list[Submission]:
        """Moves the next messages into flight and returns them; refuses those whose time is over.

        The batch is empty when all of them were refused.
        """
        now = asyncio.get_running_loop().time()
        batch: list[Submission] = []
        size_bytes = 0
        while self.waiting and len(batch) < MAX_BATCH and size_bytes < MAX_BATCH_BYTES:
            submission = self.waiting.popleft()
            if submission.deadline is not None and submission.deadline <= now:
                self._settlements.settle(submission, errors.DeadlinePassed())
                continue
            if self.failing_since is not None and now - submission.submit_time >= GIVE_UP_SECONDS:
                self._settlements.settle(submission, errors.DatabaseUnavailable())
                continue
            size_bytes += submission.draft.size_bytes
            batch.append(submission)
        if batch:
            self._counts.wait_seconds.observe(now - batch[0].submit_time)
        self.in_flight = batch
        return batch

    def end_batch(self) -> None:
        """Notes that every message of the batch has an outcome or left this lane."""
        self.in_flight = []
        self.is_retrying = False

    def give_up_old(self, batch: list[Submission]) -> list[Submission]:
        """Refuses the messages of a batch that waited too long; returns the others."""
        now = asyncio.get_running_loop().time()
        rest = []
        for submission in batch:
            if now - submission.submit_time < GIVE_UP_SECONDS:
                rest.append(submission)
            elif submission.is_tried:
                self._settlements.settle(submission, errors.RetryExhausted())
            else:
                self._settlements.settle(submission, errors.DatabaseUnavailable())
        return rest

    def take_out(self, conversation_id: str) -> list[Submission]:
        """Removes all messages of one conversation and returns them in order: those in flight, then those behind."""
        taken = [
            submission
            for submission in (*self.in_flight, *self.waiting)
            if submission.draft.conversation_id == conversation_id and not submission.is_settled
        ]
        gone = {id(submission) for submission in taken}
        self.in_flight = [submission for submission in self.in_flight if id(submission) not in gone]
        self.waiting = deque(submission for submission in self.waiting if id(submission) not in gone)
        return taken

    def abandon(self) -> None:
        """Refuses everything, at the end of the server."""
        for submission in self.in_flight:
            self._settlements.settle(submission, errors.RetryExhausted())
        for submission in self.waiting:
            self._settlements.settle(submission, errors.ShuttingDown())
        self.in_flight = []
        self.waiting.clear()
