"""The epochs of a deployment: a new one begins when the database was restored to an earlier state.

After a restore, seqs above the restored end are used a second time, for other entries. Positions of an earlier epoch
are valid only up to where the log was the same.
"""

from collections.abc import Mapping, Sequence

from storage.postgres.connections.database import Database


class Epochs:
    """Epochs, and the last seq of each log when an epoch began."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin_epoch(self) -> int:
        """Begins another epoch from the logs as they are now; one transaction.

        Returns:
            Its number, that no epoch had before, also none that the restored state does not know of: milliseconds since
            1970.
        """
        async with self._database.transaction() as connection:
            epoch = int(
                await connection.fetchval(
                    "UPDATE deployment SET epoch ="
                    " greatest(epoch + 1, floor(extract(epoch FROM clock_timestamp()) * 1000)) RETURNING epoch"
                )
            )
            await connection.execute("INSERT INTO epochs VALUES ($1)", epoch)
            await connection.execute(
                """INSERT INTO restores (epoch, conversation_id, last_seq)
                   SELECT $1, conversation_id, last_seq FROM conversations WHERE last_seq > 0""",
                epoch,
            )
        return epoch

    async def get_epoch(self) -> int:
        """Reads the number of the present epoch."""
        return int(await self._database.fetchval("SELECT epoch FROM deployment"))

    async def common_seqs(self, epochs: Mapping[str, int]) -> dict[str, int]:
        """Reads up to where logs are the same as they were in an earlier epoch; one statement.

        Args:
            epochs: by conversation, the epoch that somebody's position is of.

        Returns:
            A seq for each conversation: 0 where nothing is known to be the same, as for an epoch that led elsewhere.
        """
        conversation_ids: Sequence[str] = list(epochs)
        rows = await self._database.fetch(
            """SELECT q.conversation_id,
                      CASE WHEN EXISTS (SELECT FROM epochs e WHERE e.epoch = q.epoch)
                            AND count(r.epoch) = (SELECT count(*) FROM epochs e WHERE e.epoch > q.epoch)
                           THEN min(r.last_seq) END AS common_seq
               FROM unnest($1::text[], $2::bigint[]) AS q(conversation_id, epoch)
               LEFT JOIN restores r ON r.conversation_id = q.conversation_id AND r.epoch > q.epoch
               GROUP BY q.conversation_id, q.epoch""",
            conversation_ids,
            [epochs[conversation_id] for conversation_id in conversation_ids],
        )
        return {row["conversation_id"]: row["common_seq"] or 0 for row in rows}
