"""The end of every message that waited to be stored: readers hear of it, its room is free again, its sender hears.

The writer and its lanes use this object; it knows neither of them.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from service.convert import fast_wire
from service.convert.items import Item
from service.domain import errors
from service.messages.budget import Budget
from service.messages.counts import WriterCounts
from service.messages.outcomes import BatchOutcome, Settled
from service.messages.submission import Submission
from storage.records import EntryKind, Stored

# Called after each commit: the new entries by conversation, in the order of their seqs.
Publish: TypeAlias = Callable[[Mapping[str, list[Item]]], None]


class Settlements:
    """Announces the outcomes of messages to readers and senders.

    Args:
        budget: holds the room of the messages that wait.
        counts: counts outcomes.
        publish: delivers new entries.
    """

    def __init__(self, budget: Budget, counts: WriterCounts, publish: Publish) -> None:
        self._budget = budget
        self._counts = counts
        self._publish = publish
        self._emptied: asyncio.Event | None = None

    def finish(self, outcome: BatchOutcome) -> None:
        """Announces what a batch stored, then tells the senders of all its messages that have an outcome."""
        self._counts.accepted_count += len(outcome.stored)
        self._counts.deduplicated_count += outcome.deduplicated_count
        if outcome.stored:
            self.announce(outcome.stored)
        self.settle_all(outcome.settled)

    def announce(self, stored: Sequence[tuple[Submission, Stored]]) -> None:
        """Delivers committed messages; those of one conversation must be in the order of their seqs."""
        by_conversation: dict[str, list[Item]] = {}
        for submission, (_, seq, create_time) in stored:
            assert create_time is not None
            body = fast_wire.stored_message(submission.message, seq, create_time)
            item = Item(seq, body, EntryKind.MESSAGE, submission.origin)
            conversation_id = submission.draft.conversation_id
            if (items := by_conversation.get(conversation_id)) is None:
                items = by_conversation[conversation_id] = []
            items.append(item)
        self._publish(by_conversation)

    def settle(self, submission: Submission, outcome: Stored | errors.ParleyError) -> None:
        """Sends the outcome of one message to its sender, unless the sender has one already."""
        self.settle_all([(submission, outcome)])

    def settle_all(self, outcomes: Sequence[Settled]) -> None:
        """Sends the outcomes of several messages to their senders; messages that have one already are left out."""
        open_ones = [pair for pair in outcomes if not pair[0].is_settled]
        for submission, outcome in open_ones:
            submission.is_settled = True
            if isinstance(outcome, errors.ParleyError):
                self._counts.refused[outcome.reason] += 1
        self._budget.give_back([submission for submission, _ in open_ones])  # whatever the tickets do
        if self._emptied is not None and not self._budget.count:
            self._emptied.set()
        for submission, outcome in open_ones:
            submission.ticket.settle(submission.index, outcome)

    async def wait_until_empty(self) -> None:
        """Returns when no message waits; nothing new may be submitted meanwhile."""
        if self._budget.count:
            self._emptied = asyncio.Event()
            await self._emptied.wait()
