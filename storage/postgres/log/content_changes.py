"""Of which conversations stored messages were changed: what workers keep of these in memory is not true any more.

A row's time is that of its batch, and its commit can come much later, as where it waits for a standby. So a read goes
on where all transactions had ended at an earlier read (its horizon), as the commit feed does. It goes back some way,
for the sake of reads of the log that began before the commit and end after it: what they brought is forgotten by the
next look. Rows are kept for ten minutes. A worker that did not read for longer, or whose database failed over, which
can give transaction ids anew, has to forget everything.
"""

from collections import deque
from datetime import datetime, timedelta

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

    async def read(self) -> list[str] | None:
        """Returns the conversations that changed since the last read and a little before; one statement.

        None when that is not known, since the last read is too long ago or was of another server. The first read looks
        at what is there.

        Raises:
            Unavailable: the database is; the next read makes up for it.
        """
        generation = self._database.generation
        row = await self._database.fetchrow(
            """SELECT s.now, s.horizon, ARRAY(
                   SELECT c.conversation_id FROM content_changes c WHERE c.create_time > s.now - $2::interval
                   UNION SELECT c.conversation_id FROM content_changes c WHERE c.xid >= $1::text::xid8
               ) AS conversation_ids
               FROM (SELECT clock_timestamp() AS now, pg_snapshot_xmin(pg_current_snapshot())::text AS horizon) s""",
            self._reads[0][1] if self._reads else None,
            _BACK,
        )
        assert row is not None  # of a statement without a table
        is_known = not self._reads or row["now"] - self._reads[-1][0] < KEEP - 2 * _BACK
        if generation != self._generation:
            self._generation, is_known = generation, False
            self._reads.clear()
        self._reads.append((row["now"], row["horizon"]))
        while len(self._reads) > 1 and self._reads[1][0] <= row["now"] - _BACK:
            self._reads.popleft()
        return list(row["conversation_ids"]) if is_known else None
