"""What may wait to be stored: so many messages and bytes in all, and a share of that for each sender. Pure.

The share keeps one sender's flood from refusing the others.
"""

from collections.abc import Sequence

from service.delivery.submission import Submission
from service.errors import Overloaded

MAX_QUEUED_BYTES = 64 * 1024 * 1024
# A sender may hold this part of either limit.
_SHARE = 4


class Budget:
    """Counts what waits.

    Args:
        max_messages: messages of all senders.
        max_bytes: their sizes in all.
    """

    def __init__(self, max_messages: int, max_bytes: int = MAX_QUEUED_BYTES) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._bytes = 0
        self._of_sender: dict[str, tuple[int, int]] = {}
        self.count = 0

    def take(self, submissions: Sequence[Submission]) -> None:
        """Takes messages, all or none.

        Raises:
            Overloaded: too much waits, in all or of one of their senders.
        """
        held = dict[str, tuple[int, int]]()
        size_bytes = 0
        for submission in submissions:
            draft = submission.draft
            size_bytes += draft.size_bytes
            count, held_bytes = held.get(draft.sender) or self._of_sender.get(draft.sender, (0, 0))
            held[draft.sender] = (count + 1, held_bytes + draft.size_bytes)
        if self.count + len(submissions) > self._max_messages or self._bytes + size_bytes > self._max_bytes:
            raise Overloaded("messages waiting to be stored")
        for count, held_bytes in held.values():
            if count > self._max_messages // _SHARE or held_bytes > self._max_bytes // _SHARE:
                raise Overloaded("messages of yours waiting to be stored")
        self._of_sender.update(held)
        self.count += len(submissions)
        self._bytes += size_bytes

    def give_back(self, submission: Submission) -> None:
        """Says that a message waits no more."""
        draft = submission.draft
        self.count -= 1
        self._bytes -= draft.size_bytes
        count, held_bytes = self._of_sender[draft.sender]
        if count == 1:
            del self._of_sender[draft.sender]
        else:
            self._of_sender[draft.sender] = (count - 1, held_bytes - draft.size_bytes)
