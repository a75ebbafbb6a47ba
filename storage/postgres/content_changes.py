"""Of which conversations stored messages were changed: what workers keep of these in memory is not true any more.

Rows are kept for ten minutes; a worker that did not read for longer has to forget everything. Their times are those of
the batch, some time before its commit, so each read goes back a little. It does so also for the sake of reads of the
log that began before the commit and end after it: what they brought is forgotten by the next look.
"""

from datetime import datetime, timedelta

from storage.postgres.database import Database

KEEP = timedelta(minutes=10)
# A statement's limit and then some.
_BACK = timedelta(seconds=20)


class ContentChanges:
    """A reader of the changes, with its place among them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read_time: datetime | None = None

    async def read(self) -> list[str] | None:
        """Returns the conversations that changed since the last read and a little before; one statement.

        None when that is not known, since the last read is too long ago. The first read looks at what is there.

        Raises:
            Unavailable: the database is; the next read makes up for it.
        """
        row = await self._database.fetchrow(
            """SELECT s.now, ARRAY(SELECT DISTINCT c.conversation_id FROM content_changes c
                                   WHERE c.create_time > coalesce($1, s.now) - $2::interval) AS conversation_ids
               FROM (SELECT clock_timestamp() AS now) s""",
            self._read_time,
            _BACK,
        )
        assert row is not None  # of a statement without a table
        is_known = self._read_time is None or row["now"] - self._read_time < KEEP - 2 * _BACK
        self._read_time = row["now"]
        return list(row["conversation_ids"]) if is_known else None
