"""Sends that have no final answer yet. Pure.

One of each conversation is under way at a time: the next goes out when the one before is accepted or refused for good.
So one that is refused for now, and sent again later, is never overtaken.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from parley.v1 import message_pb2

from terminal_chat.endings import Pauses


@dataclass(slots=True)
class _Line:
    """The sends of one conversation, in the order in which they were given; the first may be under way."""

    pauses: Pauses
    requests: deque[message_pb2.SendRequest] = field(default_factory=deque)
    is_under_way: bool = False
    due_time: float = 0.0


class Outbox:
    """All lines.

    Args:
        draw: for the pauses; gives numbers from 0 to 1.
    """

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._lines: dict[str, _Line] = {}
        self._under_way: dict[int, str] = {}

    def __len__(self) -> int:
        return sum(len(line.requests) for line in self._lines.values())

    @property
    def is_under_way(self) -> bool:
        """Whether a send waits for its answer on this stream."""
        return bool(self._under_way)

    @property
    def due_time(self) -> float | None:
        """When the next send may go out; None when none waits for that."""
        return min((line.due_time for line in self._lines.values() if not line.is_under_way), default=None)

    def add(self, request: message_pb2.SendRequest) -> None:
        """Takes a send; it has its request_id, which it keeps."""
        line = self._lines.setdefault(request.conversation_id, _Line(Pauses(self._draw)))
        line.requests.append(request)

    def begin_stream(self) -> None:
        """What was under way on the stream before has no answer: it goes out again, before anything newer."""
        self._under_way.clear()
        for line in self._lines.values():
            line.is_under_way = False

    def take(self, now: float, ids: Iterator[int]) -> list[tuple[int, message_pb2.SendRequest]]:
        """Returns what is to be sent now, each with its correlation id."""
        taken = []
        for conversation_id, line in self._lines.items():
            if not line.is_under_way and line.due_time <= now:
                line.is_under_way = True
                number = next(ids)
                self._under_way[number] = conversation_id
                taken.append((number, line.requests[0]))
        return taken

    def settle(self, number: int) -> message_pb2.SendRequest | None:
        """Takes the final answer to a send and gives the send; None when the number is that of none."""
        conversation_id = self._under_way.pop(number, None)
        if conversation_id is None:
            return None
        line = self._lines[conversation_id]
        request = line.requests.popleft()
        line.is_under_way = False
        line.due_time = 0.0
        line.pauses.reset()
        if not line.requests:
            del self._lines[conversation_id]
        return request

    def postpone(self, number: int, now: float, retry_seconds: float | None) -> message_pb2.SendRequest | None:
        """Takes the advice to send again later and gives the send; None when the number is that of none."""
        conversation_id = self._under_way.pop(number, None)
        if conversation_id is None:
            return None
        line = self._lines[conversation_id]
        line.is_under_way = False
        line.due_time = now + line.pauses.next(retry_seconds)
        return line.requests[0]
