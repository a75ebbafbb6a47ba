"""Turns: work on what all workers share is done by one worker of all, each time that it is due (ADR 20).

A turn is taken by one statement that moves the due time of the work's row in `upkeep`. No lock and no connection is
held while the work runs, so turns need nothing of a session (PgBouncer), and a worker that dies in its turn holds up
nothing: the next turn is another worker's. What may not be done twice at once has row locks of its own.
"""

from storage.postgres.connections.database import Database

# The rows of chores are in the same table (`upkeep.py`); those of turns begin so.
_PREFIX = "turn: "
# A turn is due a little before its interval is over, so that a worker that waited for the whole interval finds it due
# also where the clock of the database runs slower than its own.
_DUE_PART = 0.9

# Writes nothing where the turn is not due. Of two workers, the second one waits for the first one's commit, looks at
# the new due time, and finds no row.
_TAKE = """
WITH taken AS (
    UPDATE upkeep SET due_time = clock_timestamp() + make_interval(secs => $2)
    WHERE name = $1 AND due_time <= clock_timestamp() RETURNING name
), made AS (
    INSERT INTO upkeep (name, due_time)
    SELECT $1, clock_timestamp() + make_interval(secs => $2) WHERE NOT EXISTS (SELECT FROM upkeep WHERE name = $1)
    ON CONFLICT DO NOTHING RETURNING name
) SELECT EXISTS (SELECT FROM taken) OR EXISTS (SELECT FROM made)"""


class Turns:
    """Takes turns for one worker."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, name: str, every_seconds: float) -> bool:
        """Takes the turn of a piece of work if it is due; then it is not due again for nine tenths of the interval.

        Returns:
            Whether this worker has the turn.

        Raises:
            Unavailable: the database is.
        """
        return bool(await self._database.fetchval(_TAKE, _PREFIX + name, every_seconds * _DUE_PART))
