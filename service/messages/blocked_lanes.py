"""Conversations that another transaction keeps locked. Each waits on a blocked lane of its own; the others go on.

A blocked lane begins when a lane meets the lock and ends when its queue is empty.
"""

from collections.abc import Callable, Iterator, Sequence

from service.messages.lane_queue import LaneQueue
from service.messages.submission import Submission

# Each blocked lane holds a connection of its own; beyond these a locked conversation holds up its lane.
_MAX_BLOCKED_LANES = 8


class BlockedLanes:
    """The queues of the blocked lanes, by conversation.

    Args:
        begin: starts a blocked lane and returns its queue; whoever runs the lane calls `end` when the queue is empty.
    """

    def __init__(self, begin: Callable[[str], LaneQueue]) -> None:
        self._begin = begin
        self._queues: dict[str, LaneQueue] = {}

    def __len__(self) -> int:
        """Returns how many conversations have a blocked lane."""
        return len(self._queues)

    def __iter__(self) -> Iterator[LaneQueue]:
        """Yields the queues."""
        return iter(self._queues.values())

    @property
    def has_room(self) -> bool:
        """Whether one more conversation may get a blocked lane."""
        return len(self._queues) < _MAX_BLOCKED_LANES

    def find(self, conversation_id: str) -> LaneQueue | None:
        """Returns the queue of a conversation that has a blocked lane."""
        return self._queues.get(conversation_id)

    def put(self, conversation_id: str, submissions: Sequence[Submission]) -> None:
        """Puts messages of one conversation on its blocked lane, behind those that are there."""
        queue = self._queues.get(conversation_id)
        if queue is None:
            queue = self._queues[conversation_id] = self._begin(conversation_id)
        queue.put(submissions)

    def end(self, conversation_id: str) -> None:
        """Notes that a blocked lane has ended: the next message of the conversation takes its usual lane again."""
        del self._queues[conversation_id]
