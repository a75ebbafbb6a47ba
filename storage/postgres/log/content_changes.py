"""Which stored entries were changed: the ready bytes that workers keep of these in memory are out of date.

A row's time is that of its batch, and its commit can come much later, as where it waits for a standby. So a read goes
on where all transactions had ended at an earlier read (its horizon), as the commit feed does. It goes back some way,
for the sake of reads of the log that began before the commit and end after it: what they brought is forgotten by the
next look. Rows are kept for ten minutes. A worker that did not read for longer, or whose database failed over, which
can give transaction ids anew, has to forget everything.
"""

from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg

from storage.postgres.connections.database import Database

KEEP = timedelta(minutes=10)
# A statement's limit and then some.
_BACK = timedelta(seconds=20)


class ContentChanges:
    """A reader of the changes, with its places among them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._generation = database.generation
        # Time and horizon of reads: one that is _BACK ago or longer, and all after it.
        self._reads: deque[tuple[datetime, str]] = deque()

    async def read(self) -> dict[str, set[int] | None] | None:
        """Reads what was changed since the last read and a little before; one statement.

        Returns:
            By conversation the seqs of the entries that were changed; None instead of them: any entry may be. None
            instead of all when the changes are not known, since the last read is too long ago or was of another
            server. The first read returns the changes that the table has.

        Raises:
            Unavailable: the database is; the next read makes up for it.
        """
        generation = self._database.generation
        rows = await self._database.fetch(
            """SELECT s.now, s.horizon, c.conversation_id, c.seqs
               FROM (SELECT clock_timestamp() AS now, pg_snapshot_xmin(pg_current_snapshot())::text AS horizon) s
               LEFT JOIN LATERAL (
                   SELECT c.conversation_id, c.seqs FROM content_changes c WHERE c.create_time > s.now - $2::interval
                   UNION ALL SELECT c.conversation_id, c.seqs FROM content_changes c WHERE c.xid >= $1::text::xid8
               ) c ON true""",
            self._reads[0][1] if self._reads else None,
            _BACK,
        )
        row = rows[0]
        is_known = not self._reads or row["now"] - self._reads[-1][0] < KEEP - 2 * _BACK
        if generation != self._generation:
            self._generation, is_known = generation, False
            self._reads.clear()
        self._reads.append((row["now"], row["horizon"]))
        while len(self._reads) > 1 and self._reads[1][0] <= row["now"] - _BACK:
            self._reads.popleft()
        return _by_conversation(rows) if is_known else None


def _by_conversation(rows: Sequence[asyncpg.Record]) -> dict[str, set[int] | None]:
    changed: dict[str, set[int] | None] = {}
    for row in rows:
        name = row["conversation_id"]
        if name is not None:
            known = changed.setdefault(name, set())
            if row["seqs"] is None or known is None:
                changed[name] = None
            else:
                known.update(row["seqs"])
    return changed
