"""The client's window: how many delivered entries may be outstanding, not yet covered by the client. Pure.

An ack of its conversation covers an entry, also an ack that came before the entry; `flow` covers the first entries in
the order of delivery. The cost of an entry is constant. Memory is that of the outstanding entries.
"""

from collections import deque
from dataclasses import dataclass, field

from service.domain.limits import MAX_WINDOW_MESSAGES

# Less than any entry has; ids and times alone are more.
_SMALLEST_BYTES = 32


@dataclass(slots=True, eq=False)
class _Entry:
    number: int
    conversation_id: str
    seq: int
    size_bytes: int
    is_covered: bool = False


@dataclass(slots=True)
class Window:
    """The window of one stream.

    Attributes:
        max_messages: entries that may be outstanding; 0: no limit.
        max_bytes: bytes of all outstanding entries; 0: no limit. One entry may always be outstanding, however large.
        delivered_count: entries since hello, which `flow` counts.
        is_full: an entry did not fit, and nothing was covered since.
    """

    max_messages: int
    max_bytes: int
    delivered_count: int = 0
    outstanding_count: int = 0
    outstanding_bytes: int = 0
    is_full: bool = False
    _by_conversation: dict[str, deque[_Entry]] = field(default_factory=dict)
    _in_order: deque[_Entry] = field(default_factory=deque)
    _acked_seqs: dict[str, int] = field(default_factory=dict)

    def has_room_for(self, size_bytes: int) -> bool:
        """Whether an entry of this size may go out; if not, the window is full until something is covered.

        Nothing smaller goes out meanwhile either, else what is small and frequent would hold back a large one for ever.
        """
        if self.outstanding_count and not self.is_full:
            has_too_many = 0 < self.max_messages <= self.outstanding_count
            has_too_much = 0 < self.max_bytes < self.outstanding_bytes + size_bytes
            self.is_full = has_too_many or has_too_much
        return not self.is_full

    @property
    def room_count(self) -> int:
        """An upper bound of the entries that may go out, before their sizes are known; at least one."""
        counts = [MAX_WINDOW_MESSAGES]
        if self.max_messages:
            counts.append(self.max_messages - self.outstanding_count)
        if self.max_bytes:
            counts.append((self.max_bytes - self.outstanding_bytes) // _SMALLEST_BYTES)
        return max(1, min(counts))

    def deliver(self, conversation_id: str, seq: int, size_bytes: int) -> None:
        """Notes that an entry goes out."""
        self.delivered_count += 1
        if seq <= self._acked_seqs.get(conversation_id, 0):
            return
        entry = _Entry(self.delivered_count, conversation_id, seq, size_bytes)
        self._by_conversation.setdefault(conversation_id, deque()).append(entry)
        self._in_order.append(entry)
        self.outstanding_count += 1
        self.outstanding_bytes += size_bytes

    def ack(self, conversation_id: str, seq: int) -> None:
        """Covers all entries of a conversation up to a seq."""
        self._acked_seqs[conversation_id] = max(seq, self._acked_seqs.get(conversation_id, 0))
        while (entries := self._by_conversation.get(conversation_id)) and entries[0].seq <= seq:
            self._cover(entries[0])
        order = self._in_order
        while order and order[0].is_covered:
            order.popleft()
        if len(order) > 2 * self.outstanding_count + 64:  # they lie behind an older one that is outstanding
            self._in_order = deque(entry for entry in order if not entry.is_covered)

    def flow(self, total_count: int) -> bool:
        """Covers the first `total_count` entries of this stream; False when fewer were delivered."""
        if total_count > self.delivered_count:
            return False
        while self._in_order and self._in_order[0].number <= total_count:
            entry = self._in_order.popleft()
            if not entry.is_covered:
                self._cover(entry)
        return True

    def _cover(self, entry: _Entry) -> None:
        """Covers an entry, which is always the oldest outstanding one of its conversation, by either way."""
        entry.is_covered = True
        self.is_full = False
        self.outstanding_count -= 1
        self.outstanding_bytes -= entry.size_bytes
        entries = self._by_conversation[entry.conversation_id]
        entries.popleft()
        if not entries:
            del self._by_conversation[entry.conversation_id]
