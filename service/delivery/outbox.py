"""What waits to be written to one stream, in order, bounded, and joined into frames. Pure: no I/O, no clock.

Entries, results, errors and marks keep their order. Presence, typing and receipts have no log: the latest of each key
wins, and they follow what has an order. When MAX_BUFFERED_BYTES wait, `offer` refuses entries: the log in PostgreSQL is
the buffer. `put` never refuses; its callers are bounded by MAX_UNANSWERED.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from service.convert import responses
from service.domain.errors import ParleyError
from service.domain.limits import MAX_FRAME_BYTES

# What may wait to be written to one stream.
MAX_BUFFERED_BYTES = 1024 * 1024
# Results, errors and unanswered sends beyond which the stream's requests are not read.
MAX_UNANSWERED = 2000
# Different keys of presence, typing and receipts that may wait; more is dropped.
MAX_EPHEMERAL = 2000


class _Alone(bytes):
    """A piece that is never joined with others."""


@dataclass(slots=True, eq=False)
class Outbox:
    """The bytes that one stream has yet to write, and the count of the answers that it owes.

    Attributes:
        wake: called when there is something to write.
        on_error: called with the reason of each refusal, to be counted.
        unanswered_count: messages and acks of the client that have no outcome yet.
        taken_count: messages in the frame that was taken last.
    """

    wake: Callable[[], None]
    on_error: Callable[[str], None]
    unanswered_count: int = 0
    taken_count: int = 0
    _pieces: list[bytes] = field(default_factory=list)
    _counts: list[int] = field(default_factory=list)  # messages in each of the pieces
    _size_bytes: int = 0  # of the pieces
    _alone_count: int = 0
    _ephemeral: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def offer(self, body: bytes, message_count: int) -> bool:
        """Adds entries, unless too much waits; anything fits when nothing waits. Returns whether they were added."""
        size_bytes = self._size_bytes
        if size_bytes and size_bytes + len(body) > MAX_BUFFERED_BYTES:
            return False
        # The body of `put`: a delivery to many streams saves a call for each of them.
        self._pieces.append(body)
        self._counts.append(message_count)
        self._size_bytes = size_bytes + len(body)
        self.wake()
        return True

    def fits(self, size_bytes: int) -> bool:
        """Whether `offer` would add this much."""
        return not self._size_bytes or self._size_bytes + size_bytes <= MAX_BUFFERED_BYTES

    def put(self, body: bytes, message_count: int = 0) -> None:
        """Adds what must be written whatever waits: results, errors, marks. The caller bounds it.

        Args:
            message_count: how many messages are in the body.
        """
        self._pieces.append(body)
        self._counts.append(message_count)
        self._size_bytes += len(body)
        self.wake()

    def put_error(self, correlation_id: int, refusal: ParleyError) -> None:
        """Adds the answer to a refused request, and has the refusal counted."""
        self.on_error(refusal.reason)
        self.put(responses.error(correlation_id, refusal))

    def put_alone(self, body: bytes) -> None:
        """Adds what must be a frame of its own, before anything that comes later."""
        self._alone_count += 1
        self.put(_Alone(body))

    def put_first(self, body: bytes) -> None:
        """Adds what goes before everything that waits: the welcome."""
        self._pieces.insert(0, body)
        self._counts.insert(0, 0)
        self._size_bytes += len(body)
        self.wake()

    def put_ephemeral(self, key: tuple[str, str], body: bytes) -> None:
        """Adds a state, in the place of an earlier one of the same key."""
        if key in self._ephemeral or len(self._ephemeral) < MAX_EPHEMERAL:
            self._ephemeral[key] = body
            self.wake()

    def expect_answers(self, count: int) -> None:
        """Notes that so many messages or acks of the client will have an outcome."""
        self.unanswered_count += count

    def note_answers(self, count: int) -> None:
        """Notes that so many have their outcome. Does not wake: the answer, if there is one, is put apart."""
        self.unanswered_count -= count

    def take_frame(self) -> bytes:
        """Joins what waits into one frame of at most MAX_FRAME_BYTES; empty when nothing waits."""
        pieces = self._pieces
        if not (pieces or self._ephemeral):
            return b""
        if self._size_bytes > MAX_FRAME_BYTES or self._ephemeral or self._alone_count:
            return self._take_part()
        if len(pieces) == 1:
            frame = pieces[0]
            self.taken_count = self._counts[0]
        else:
            frame = b"".join(pieces)
            self.taken_count = sum(self._counts)
        pieces.clear()
        self._counts.clear()
        self._size_bytes = 0
        return frame

    def _take_part(self) -> bytes:
        """Joins as many pieces as fit, and states behind them when no piece is left."""
        chosen: list[bytes] = []
        size_bytes = 0
        for piece in self._pieces:
            if chosen and (size_bytes + len(piece) > MAX_FRAME_BYTES or _Alone in (type(piece), type(chosen[-1]))):
                break
            chosen.append(piece)
            size_bytes += len(piece)
        self._size_bytes -= size_bytes
        self.taken_count = sum(self._counts[: len(chosen)])
        del self._pieces[: len(chosen)], self._counts[: len(chosen)]
        is_alone = bool(chosen) and type(chosen[-1]) is _Alone
        self._alone_count -= is_alone
        while self._ephemeral and not self._pieces and not is_alone and size_bytes < MAX_FRAME_BYTES // 2:
            key = next(iter(self._ephemeral))
            chosen.append(self._ephemeral.pop(key))
            size_bytes += len(chosen[-1])
        return b"".join(chosen)

    @property
    def has_output(self) -> bool:
        """Whether anything waits to be written."""
        return bool(self._pieces or self._ephemeral)

    @property
    def has_room(self) -> bool:
        """Whether a replay, or a state of receipts, may add more."""
        return self._size_bytes < MAX_BUFFERED_BYTES // 2

    @property
    def may_read(self) -> bool:
        """Whether the stream's next request may be read: not too much is unanswered or unwritten."""
        return self.unanswered_count < MAX_UNANSWERED and self._size_bytes < 2 * MAX_BUFFERED_BYTES
