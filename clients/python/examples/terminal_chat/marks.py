"""Positions that a device tells the server: what it has (acks), what its user has read. Pure.

They are cumulative and get no answer, so those of a stream that broke count as not told: all are told again.
"""

from parley.v1 import chat_pb2

POSITIONS_A_FRAME = 1000


class Marks:
    """The highest seq of each conversation, and which of them the server is still to be told."""

    def __init__(self) -> None:
        self._seqs: dict[str, int] = {}
        self._untold: set[str] = set()

    def __bool__(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._untold)

    def note(self, conversation_id: str, seq: int) -> None:
        """Takes a position; a lower one than before changes nothing."""
        if seq > self._seqs.get(conversation_id, 0):
            self._seqs[conversation_id] = seq
            self._untold.add(conversation_id)

    def cut(self, conversation_id: str, seq: int) -> None:
        """Drops what is above a seq: after a reset it means other entries, or none."""
        if self._seqs.get(conversation_id, 0) > seq:
            self._seqs[conversation_id] = seq

    def forget(self, conversation_id: str) -> None:
        """Drops a conversation."""
        self._seqs.pop(conversation_id, None)
        self._untold.discard(conversation_id)

    def renew(self, conversation_id: str) -> None:
        """The server does not know of this one."""
        if conversation_id in self._seqs:
            self._untold.add(conversation_id)

    def renew_all(self) -> None:
        """A stream is open, and what was told on the one before may be lost."""
        self._untold.update(self._seqs)

    def take(self) -> list[list[chat_pb2.Position]]:
        """Returns what is to be acknowledged, a list for each frame."""
        positions = [
            chat_pb2.Position(conversation_id=name, seq=self._seqs[name])
            for name in sorted(self._untold)
            if self._seqs[name]
        ]
        self._untold.clear()
        return [positions[first : first + POSITIONS_A_FRAME] for first in range(0, len(positions), POSITIONS_A_FRAME)]
