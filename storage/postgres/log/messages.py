"""The read side of the log: pages for a user, parts for the hub.

A read on behalf of a user is limited by what the user may see (`members.visible`) in the same statement. All reads go
by the primary key; their cost grows with the page, not with the log.
"""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from storage.errors import Absent
from storage.postgres.connections.database import Database
from storage.records import Backlog, Entry, Page, Position, Span

# A page takes no further entry once it has this much: with the largest entry (64 KiB) it stays below 1 MiB.
PAGE_BYTES = 940 * 1024

# Above every seq, with room for one more in a bigint.
TOP_SEQ = 2**62

ENTRY_COLUMNS = (
    "e.conversation_id, e.seq, e.kind, e.sender, e.request_id, e.create_time, e.size_bytes, e.reply_to_seq,"
    " e.text, e.data, e.content_type, e.extras"
)

# What the caller sees of the conversation: one row, or none when there is no such conversation for the caller.
_SEEN = """
WITH seen AS (
    SELECT m.visible * int8multirange(int8range(c.first_seq, c.last_seq + 1)) AS span,
           visible_end(m.visible, c.last_seq) AS last_seq,
           (SELECT d.epoch FROM deployment d) AS epoch
    FROM members m JOIN conversations c USING (conversation_id)
    WHERE m.conversation_id = $1 AND m.username = $2 AND c.delete_time IS NULL
)"""

# The visible ranges are few (one for each time that the user joined); each is read by the primary key up to the limit.
_PAGE = (
    _SEEN
    + """
SELECT s.last_seq AS page_last_seq, lower(s.span) AS page_first_seq, s.epoch, e.*
FROM seen s LEFT JOIN LATERAL (
    SELECT r.*, sum(r.size_bytes) OVER (ORDER BY r.seq {order}) - r.size_bytes AS bytes_before
    FROM (
        SELECT p.* FROM unnest(s.span) AS part CROSS JOIN LATERAL (
            SELECT """
    + ENTRY_COLUMNS
    + """ FROM messages e
            WHERE e.conversation_id = $1 AND {bounds}
            ORDER BY e.seq {order} LIMIT $4
        ) p
        ORDER BY p.seq {order} LIMIT $4
    ) r
) e ON e.bytes_before < $5
ORDER BY e.seq {order}"""
)
PAGE_FORWARD = _PAGE.format(order="ASC", bounds="e.seq >= greatest(lower(part), $3) AND e.seq < upper(part)")
PAGE_REVERSE = _PAGE.format(order="DESC", bounds="e.seq >= lower(part) AND e.seq < least(upper(part), $3::bigint + 1)")


class Messages:
    """Reads of the log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_page(self, conversation_id: str, username: str, *, cursor: int, limit: int, reverse: bool) -> Page:
        """Reads a page as a user may see it, in one statement.

        Args:
            cursor: the first seq wanted, inclusive; with reverse the highest one. 0 with reverse is the end.
            limit: entries at most; PAGE_BYTES may stop the page earlier.

        Raises:
            Absent: there is no such conversation, or the user never was in it.
        """
        sql = PAGE_REVERSE if reverse else PAGE_FORWARD
        start = min(cursor or TOP_SEQ, TOP_SEQ) if reverse else max(cursor, 1)
        rows = await self._database.fetch(sql, conversation_id, username, start, limit, PAGE_BYTES)
        if not rows:
            raise Absent(conversation_id)
        last_seq, first_seq, epoch = rows[0]["page_last_seq"], rows[0]["page_first_seq"], rows[0]["epoch"]
        entries = tuple(to_entry(row) for row in rows if row["seq"] is not None)
        has_more = bool(entries) and (entries[-1].seq > first_seq if reverse else entries[-1].seq < last_seq)
        return Page(entries, last_seq, has_more, epoch)

    async def find_seq_by_time(self, conversation_id: str, username: str, time: datetime, *, reverse: bool) -> int:
        """Returns the seq of the first entry of this time or later; with reverse, of the last one not later.

        One above the end (0 with reverse) when there is none. Log2(length) look-ups in one statement.

        Raises:
            Absent: there is no such conversation, or the user never was in it.
        """
        found = await self._database.fetchval(
            _SEEN
            + """
            SELECT find_seq_by_time($1, $3::timestamptz + $4::int * interval '1 microsecond',
                                    coalesce(lower(s.span), s.last_seq + 1), s.last_seq) FROM seen s""",
            conversation_id,
            username,
            time,
            int(reverse),  # "not later" is "before the next microsecond"; PostgreSQL's times are in whole ones
        )
        if found is None:
            raise Absent(conversation_id)
        return int(found) - 1 if reverse else int(found)

    async def get_entry(self, conversation_id: str, seq: int) -> Entry:
        """Reads one entry as it stands.

        Raises:
            Absent: there is none.
        """
        row = await self._database.fetchrow(
            f"SELECT {ENTRY_COLUMNS} FROM messages e WHERE e.conversation_id = $1 AND e.seq = $2",
            conversation_id,
            seq,
        )
        if row is None:
            raise Absent(f"{conversation_id}/{seq}")
        return to_entry(row)

    async def read_spans(self, spans: Sequence[Span], *, limit_each: int) -> list[Entry]:
        """Reads parts of logs, whoever may see them, in one statement; rising seqs within a conversation, no gap.

        Args:
            spans: of different conversations, up to a few dozen.
            limit_each: entries at most for each; all together stop at PAGE_BYTES and the last ones come short.
        """
        rows = await self._database.fetch(
            f"""
            SELECT e.* FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS q(conversation_id, after_seq, before_seq)
            CROSS JOIN LATERAL (
                SELECT r.*, sum(r.size_bytes) OVER (ORDER BY r.seq) - r.size_bytes AS bytes_before FROM (
                    SELECT {ENTRY_COLUMNS} FROM messages e
                    WHERE e.conversation_id = q.conversation_id AND e.seq > q.after_seq AND e.seq < q.before_seq
                    ORDER BY e.seq LIMIT $4
                ) r
            ) e
            WHERE e.bytes_before < $5
            ORDER BY e.conversation_id, e.seq""",
            [span.conversation_id for span in spans],
            [span.after_seq for span in spans],
            [span.before_seq for span in spans],
            limit_each,
            max(1, PAGE_BYTES // max(1, len(spans))),
        )
        return [to_entry(row) for row in rows]

    async def read_backlog(
        self, username: str, positions: Sequence[Position], *, limit_each: int
    ) -> dict[str, Backlog]:
        """Reads what follows each position, as the user may see it, in one statement.

        Args:
            positions: up to a few dozen conversations and the last seq that is covered in each.
            limit_each: entries at most for each; all together stop at PAGE_BYTES and the last ones come short.

        Returns:
            A backlog for each conversation; one that is gone is left out.
        """
        rows = await self._database.fetch(
            f"""
            SELECT q.conversation_id AS wanted,
                   visible_end(m.visible, c.last_seq) AS end_seq,
                   m.role > 0 AS is_member,
                   coalesce((SELECT lower(part) FROM unnest(m.visible) AS part ORDER BY part DESC LIMIT 1), 1)
                       AS floor_seq,
                   e.*
            FROM unnest($2::text[], $3::bigint[]) WITH ORDINALITY AS q(conversation_id, after_seq, ord)
            JOIN members m ON m.conversation_id = q.conversation_id AND m.username = $1
            JOIN conversations c ON c.conversation_id = q.conversation_id AND c.delete_time IS NULL
            LEFT JOIN LATERAL (
                SELECT r.*, sum(r.size_bytes) OVER (ORDER BY r.seq) - r.size_bytes AS bytes_before FROM (
                    SELECT p.* FROM unnest(m.visible) AS part CROSS JOIN LATERAL (
                        SELECT {ENTRY_COLUMNS} FROM messages e
                        WHERE e.conversation_id = q.conversation_id
                          AND e.seq > greatest(lower(part) - 1, q.after_seq)
                          AND (upper_inf(part) OR e.seq < upper(part))
                        ORDER BY e.seq LIMIT $4
                    ) p ORDER BY p.seq LIMIT $4
                ) r
            ) e ON e.bytes_before < $5
            ORDER BY q.ord, e.seq""",
            username,
            [position.conversation_id for position in positions],
            [position.seq for position in positions],
            limit_each,
            max(1, PAGE_BYTES // max(1, len(positions))),
        )
        found: dict[str, Backlog] = {}
        for row in rows:
            backlog = found.setdefault(row["wanted"], Backlog([], row["end_seq"], row["floor_seq"], row["is_member"]))
            if row["seq"] is not None:
                backlog.entries.append(to_entry(row))
        return found


def to_entry(row: asyncpg.Record) -> Entry:
    """Turns a row with ENTRY_COLUMNS into an entry."""
    return Entry(
        conversation_id=row["conversation_id"],
        seq=row["seq"],
        kind=row["kind"],
        sender=row["sender"],
        request_id=row["request_id"],
        create_time=row["create_time"],
        size_bytes=row["size_bytes"],
        reply_to_seq=row["reply_to_seq"],
        text=row["text"],
        data=row["data"],
        content_type=row["content_type"],
        extras=row["extras"],
    )
