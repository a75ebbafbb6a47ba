"""The bounds of what waits to be stored: messages and bytes, in all and of each sender. Pure.

The bound of a sender keeps one sender's flood from having the others refused.
"""

from collections.abc import Sequence

from service.domain.errors import Overloaded
from service.messages.submission import Submission

MAX_QUEUED_BYTES = 64 * 1024 * 1024
# A sender may hold this part of either limit.
_SHARE = 4


class Budget:
    """Counts the messages that wait, and refuses what is too much.

    Args:
        max_messages: how many messages of all senders may wait.
        max_bytes: how many bytes they may have together.

    Attributes:
        count: messages that wait.
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
        wanted = _by_sender(submissions)
        size_bytes = sum(more_bytes for _, more_bytes in wanted.values())
        if self.count + len(submissions) > self._max_messages or self._bytes + size_bytes > self._max_bytes:
            raise Overloaded("messages waiting to be stored")
        held = {}
        for sender, (more, more_bytes) in wanted.items():
            count, held_bytes = self._of_sender.get(sender, (0, 0))
            held[sender] = (count + more, held_bytes + more_bytes)
            if count + more > self._max_messages // _SHARE or held_bytes + more_bytes > self._max_bytes // _SHARE:
                raise Overloaded("messages of yours waiting to be stored")
        self._of_sender.update(held)
        self.count += len(submissions)
        self._bytes += size_bytes

    def give_back(self, submissions: Sequence[Submission]) -> None:
        """Frees the room of messages that wait no more."""
        for sender, (less, less_bytes) in _by_sender(submissions).items():
            self.count -= less
            self._bytes -= less_bytes
            count, held_bytes = self._of_sender[sender]
            if count == less:
                del self._of_sender[sender]
            else:
                self._of_sender[sender] = (count - less, held_bytes - less_bytes)


def _by_sender(submissions: Sequence[Submission]) -> dict[str, tuple[int, int]]:
    """Returns (messages, bytes) of each sender."""
    if len(submissions) == 1:  # what a unary call brings, and most frames
        draft = submissions[0].draft
        return {draft.sender: (1, draft.size_bytes)}
    sizes: dict[str, list[int]] = {}
    for submission in submissions:
        draft = submission.draft
        try:
            sizes[draft.sender].append(draft.size_bytes)
        except KeyError:
            sizes[draft.sender] = [draft.size_bytes]
    return {sender: (len(own), sum(own)) for sender, own in sizes.items()}
