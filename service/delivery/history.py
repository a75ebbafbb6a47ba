"""The past, for all sessions of a worker that replay: parts of logs as ready bytes, read and encoded once.

In a storm of reconnects hundreds of sessions ask for the same entries. What was read stays here; what was not used for
longest goes first, so memory is bounded. Parts of a conversation never overlap: a read ends where the next part begins.
Nothing here knows who may see what: only for those who may see all of what they ask for.
"""

from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Collection, Sequence

from service.convert import responses
from service.convert.items import Item
from storage.postgres.log.messages import TOP_SEQ, Messages
from storage.records import Position, Span

_MAX_BYTES = 16 * 1024 * 1024
# What an entry takes besides its bytes, about.
_ENTRY_OVERHEAD_BYTES = 150


class History:
    """Parts of logs, in memory.

    Args:
        messages: the log.
        max_bytes: what the parts may take.
    """

    def __init__(self, messages: Messages, *, max_bytes: int = _MAX_BYTES) -> None:
        self._messages = messages
        self._max_bytes = max_bytes
        # By conversation and first seq; the least used first.
        self._parts: OrderedDict[tuple[str, int], list[Item]] = OrderedDict()
        self._starts: dict[str, list[int]] = {}
        self.size_bytes = 0
        self.read_count = 0

    async def read_after(self, positions: Sequence[Position], *, limit_each: int) -> dict[str, list[Item]]:
        """Returns some of the entries after each position: from memory, else by one statement for all.

        Args:
            positions: of different conversations.
            limit_each: entries at most that are read for each.

        Returns:
            For each conversation the next entries, without a gap; none where the log ends at the position.

        Raises:
            Unavailable: the database is.
        """
        found: dict[str, list[Item]] = {}
        missing: list[Span] = []
        for position in positions:
            items, end_seq = self._find(position)
            found[position.conversation_id] = items
            if not items:
                missing.append(Span(position.conversation_id, position.seq, end_seq))
        if missing:
            self.read_count += 1
            for entry in await self._messages.read_spans(missing, limit_each=limit_each):
                found[entry.conversation_id].append(responses.entry_item(entry))
            for span in missing:
                self._keep(span.conversation_id, found[span.conversation_id])
        return found

    def list_conversations(self) -> list[str]:
        """Lists the conversations of which there is a part."""
        return list(self._starts)

    def forget(self, conversation_id: str, seqs: Collection[int] | None = None) -> None:
        """Drops the parts that have entries which were changed in the log, so that they are read from there.

        Args:
            seqs: the entries; None: all of the conversation.
        """
        starts = self._starts.get(conversation_id, [])
        if seqs is None:
            gone = set(starts)
        else:
            begins = {seq: starts[at - 1] for seq in seqs if (at := bisect_right(starts, seq))}
            gone = {begin for seq, begin in begins.items() if seq <= self._parts[(conversation_id, begin)][-1].seq}
        for first_seq in gone:
            self._drop_part(conversation_id, first_seq)

    def _find(self, position: Position) -> tuple[list[Item], int]:
        """Returns the entries of a part above the position (maybe none), and where the next part begins."""
        wanted = position.seq + 1
        starts = self._starts.get(position.conversation_id, [])
        at = bisect_right(starts, wanted)
        if at:
            key = (position.conversation_id, starts[at - 1])
            items = self._parts[key]
            if items[-1].seq >= wanted:
                self._parts.move_to_end(key)
                return items[wanted - items[0].seq :], TOP_SEQ
        return [], starts[at] if at < len(starts) else TOP_SEQ

    def _keep(self, conversation_id: str, items: list[Item]) -> None:
        """Remembers what was read, unless somebody else's read overlaps it, and forgets what is too much."""
        if not items:
            return
        starts = self._starts.setdefault(conversation_id, [])
        at = bisect_right(starts, items[-1].seq)
        if at and self._parts[(conversation_id, starts[at - 1])][-1].seq >= items[0].seq:
            return
        insort(starts, items[0].seq)
        self._parts[(conversation_id, items[0].seq)] = items
        self.size_bytes += _size_bytes(items)
        while self.size_bytes > self._max_bytes:
            self._drop_part(*next(iter(self._parts)))

    def _drop_part(self, conversation_id: str, first_seq: int) -> None:
        self.size_bytes -= _size_bytes(self._parts.pop((conversation_id, first_seq)))
        starts = self._starts[conversation_id]
        starts.remove(first_seq)
        if not starts:
            del self._starts[conversation_id]


def _size_bytes(items: list[Item]) -> int:
    return sum(len(item.body) + _ENTRY_OVERHEAD_BYTES for item in items)
