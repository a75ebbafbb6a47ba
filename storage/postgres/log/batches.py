"""A batch of drafts as the arguments of the SQL function append_entries, and its rows as their answers. Pure.

`storage/postgres/schema/functions/log.sql` has the function and says what arguments and rows mean.
"""

from collections.abc import Sequence

import asyncpg

from storage.records import Draft, EntryKind, Outcome, Role, Stored

STORE = f"""
SELECT ord, outcome, seq, create_time
FROM append_entries({EntryKind.MESSAGE:d}::smallint, {Role.MEMBER:d}::smallint,
                    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"""
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
# All messages of a place are stored; the row has the conversation's last seq before them.
_PLACE_STORED = -1


class Batch:
    """Drafts as the arguments of append_entries, and its rows as their answers.

    A place is a pair of conversation and sender; a message has a rank among those of its conversation.
    """

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self._drafts = drafts
        self._firsts: list[Draft] = []  # without those that repeat an earlier one
        self._first_at: list[int] = []  # for each draft, where in these it is, or the one that it repeats
        self._places: dict[tuple[str, str], int] = {}
        self._place_of: list[int] = []
        self._rank_of: list[int] = []
        self._sort()

    def _sort(self) -> None:
        first_of: dict[tuple[str, str, str], int] = {}
        counts: dict[str, int] = {}
        for draft in self._drafts:
            count = len(self._firsts)
            at = first_of.setdefault(draft[:3], count)
            self._first_at.append(at)
            if at == count:
                conversation_id = draft.conversation_id
                counts[conversation_id] = rank = counts.get(conversation_id, 0) + 1
                self._firsts.append(draft)
                self._place_of.append(self._places.setdefault(draft[:2], len(self._places) + 1))
                self._rank_of.append(rank)

    @property
    def has_repeats(self) -> bool:
        """Whether a draft repeats an earlier one."""
        return len(self._firsts) < len(self._drafts)

    def arguments(self) -> tuple[Sequence[object] | None, ...]:
        """Returns the arguments; a column that has only its default value is None."""
        (_, _, request_ids, hashes, sizes, texts, datas, content_types, replies, extras) = zip(
            *self._firsts, strict=True
        )
        conversation_ids, senders = zip(*self._places, strict=True)
        return (
            conversation_ids,
            senders,
            self._place_of,
            self._rank_of,
            request_ids,
            hashes,
            sizes,
            _unless_all(replies, 0),
            texts,
            _unless_all(datas, None),
            _unless_all(content_types, None),
            _unless_all(extras, None),
        )

    def to_answers(self, rows: Sequence[asyncpg.Record]) -> list[Stored]:
        """Returns the answers of the drafts that repeat no earlier one."""
        if rows[0]["outcome"] == _PLACE_STORED:
            bases = {row["ord"]: (row["seq"], row["create_time"]) for row in rows}
            answers = []
            for place, rank in zip(self._place_of, self._rank_of, strict=True):
                last_seq, create_time = bases[place]
                answers.append(Stored(Outcome.STORED, last_seq + rank, create_time))
            return answers
        found = {ord_: Stored(_OUTCOMES[outcome], seq or 0, create_time) for ord_, outcome, seq, create_time in rows}
        return [found[ord_] for ord_ in range(1, len(self._firsts) + 1)]

    def with_repeats(self, answers: Sequence[Stored]) -> list[Stored]:
        """Returns the answers of all drafts, from those of the drafts that repeat no earlier one."""
        seen: set[int] = set()
        results = []
        for draft, at in zip(self._drafts, self._first_at, strict=True):
            results.append(_as_repeat(draft, self._firsts[at], answers[at]) if at in seen else answers[at])
            seen.add(at)
        return results


def _unless_all(values: Sequence[object], usual: object) -> Sequence[object] | None:
    """Returns None for a column that has only its default value: to write an array takes time for each element."""
    return None if values.count(usual) == len(values) else values


def _as_repeat(draft: Draft, first: Draft, answer: Stored) -> Stored:
    """What a later one of equal request ids gets: the first one's answer."""
    if answer.outcome not in (Outcome.STORED, Outcome.DUPLICATE):
        return answer
    if draft.request_hash != first.request_hash:
        return Stored(Outcome.REUSED, answer.seq, answer.create_time)
    return Stored(Outcome.DUPLICATE, answer.seq, answer.create_time)
