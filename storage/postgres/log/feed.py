"""The commit feed: which conversations grew, for those who missed the publication.

Row ids are no commit order, so reading resumes from a transaction horizon: rows of transactions at or above the xmin
of the last read are looked at again, and the ids that were seen already are skipped. After a crash or a failover the
server may give transaction ids anew that the lost end of its log had used, so reading then goes back some way.
"""

from storage.postgres.connections.database import Database

# How long rows are kept: far longer than any worker goes without reading; one that did starts anew from the log.
KEEP_SECONDS = 600
_PURGE_ROWS = 10_000
# Far more transactions than begin between a commit and the moment at which a standby has what came before it.
_BACK_XIDS = 10_000


class Feed:
    """A reader of the feed, with its place in it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._horizon: int | None = None
        self._generation = 0  # of the database's connections, at the last read
        self._seen: set[int] = set()
        self.sweep_count = 0

    async def read(self) -> dict[str, int]:
        """Returns the last seq of each conversation that grew since the last read; one statement.

        The first read returns nothing and marks the place. What was told before can come again.
        """
        self.sweep_count += 1
        generation = self._database.generation
        if self._horizon is None:
            self._horizon = int(await self._database.fetchval("SELECT pg_snapshot_xmin(pg_current_snapshot())::text"))
            self._generation = generation
            return {}
        back_xids = 0
        if generation != self._generation:
            back_xids = _BACK_XIDS
            self._seen = set()  # the ids of rows may be given anew, too
        rows = await self._database.fetch(
            """SELECT f.feed_id, f.conversation_ids, f.last_seqs, s.horizon
               FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS horizon) s
               LEFT JOIN commit_feed f ON f.xid >= $1::text::xid8""",
            str(max(0, self._horizon - back_xids)),
        )
        self._horizon = int(rows[0]["horizon"])
        self._generation = generation
        grown: dict[str, int] = {}
        seen: set[int] = set()
        for row in rows:
            feed_id = row["feed_id"]
            if feed_id is None:
                continue
            seen.add(feed_id)
            if feed_id in self._seen:
                continue
            for conversation_id, last_seq in zip(row["conversation_ids"], row["last_seqs"], strict=True):
                grown[conversation_id] = max(last_seq, grown.get(conversation_id, 0))
        self._seen = seen
        return grown

    async def purge(self) -> None:
        """Drops rows that are older than KEEP_SECONDS; safe to run on several workers. Looks at old rows alone."""
        while True:
            tag = await self._database.execute(
                """DELETE FROM commit_feed WHERE feed_id IN (
                     SELECT feed_id FROM (SELECT feed_id, create_time FROM commit_feed ORDER BY feed_id LIMIT $2) oldest
                     WHERE create_time < clock_timestamp() - make_interval(secs => $1))""",
                float(KEEP_SECONDS),
                _PURGE_ROWS,
            )
            if int(tag.split()[1]) < _PURGE_ROWS:
                return
