"""Dead letters: messages whose attempts are used up. Their text stays in the log; here is what became of them.

A user sees the own ones, as far as the message can still be seen; without a user name all are meant (an operator).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from storage.postgres.connections.database import Database
from storage.postgres.devices.deliveries import MAX_UNSETTLED
from storage.postgres.log.messages import ENTRY_COLUMNS, PAGE_BYTES, to_entry
from storage.records import Entry


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up.

    Attributes:
        entry: as it stands in the log.
        first_time: of the first attempt.
        last_time: of the last attempt.
        create_time: when it was given up.
    """

    dead_letter_id: int
    username: str
    device_id: str
    entry: Entry
    attempts: int
    last_reason: str
    first_time: datetime
    last_time: datetime
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Redriven:
    """A dead letter that became a delivery again."""

    dead_letter_id: int
    username: str
    device_id: str


# Letters $1 of user $2 (null: of all), as far as their messages can be seen.
_SEEN = """
    SELECT l.* FROM dead_letters l
    JOIN conversations c ON c.conversation_id = l.conversation_id AND c.delete_time IS NULL
    JOIN members m ON m.conversation_id = l.conversation_id AND m.username = l.username AND m.visible @> l.seq
    WHERE l.dead_letter_id = ANY ($1) AND ($2::text IS NULL OR l.username = $2)"""

_REDRIVE = f"""
WITH seen AS ({_SEEN}
), numbered AS (
    SELECT s.*, row_number() OVER (PARTITION BY s.username, s.device_id ORDER BY s.dead_letter_id) AS nth FROM seen s
), chosen AS (
    SELECT n.dead_letter_id FROM numbered n
    JOIN devices d ON d.username = n.username AND d.device_id = n.device_id AND d.ack_mode = 2
    WHERE n.nth <= $3 - (SELECT count(*) FROM deliveries o
                         WHERE o.username = n.username AND o.device_id = n.device_id)
), taken AS (
    DELETE FROM dead_letters l USING chosen h WHERE l.dead_letter_id = h.dead_letter_id RETURNING l.*
), made AS (
    INSERT INTO deliveries (username, device_id, conversation_id, seq, owner, attempts, due_time, first_time, last_time)
    SELECT t.username, t.device_id, t.conversation_id, t.seq, 0, 0, clock_timestamp(), t.first_time, t.last_time
    FROM taken t ORDER BY t.username, t.device_id, t.conversation_id, t.seq
)
SELECT t.dead_letter_id, t.username, t.device_id FROM taken t ORDER BY t.dead_letter_id"""


class DeadLetters:
    """What was given up.

    Attributes:
        made_count: how many there ever were, on all servers, when `count_made` looked last; None before that.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.made_count: int | None = None

    async def list_page(
        self, username: str | None, *, conversation_id: str, device_id: str, after: int, limit: int
    ) -> tuple[list[DeadLetter], bool]:
        """Lists dead letters by id, so the oldest first, and says whether there are more; one statement.

        Args:
            username: whose; None: all users'.
            conversation_id: "": of all.
            device_id: "": of all.
            after: the last id of the page before; 0 for the first page.
            limit: at most so many, or PAGE_BYTES.
        """
        rows = await self._database.fetch(
            f"""SELECT * FROM (
                SELECT r.*, count(*) OVER () AS read_count, row_number() OVER w AS nth,
                       sum(r.size_bytes) OVER w - r.size_bytes AS bytes_before
                FROM (
                    SELECT l.dead_letter_id, l.username, l.device_id, l.attempts, l.last_reason, l.first_time,
                           l.last_time, l.create_time AS give_up_time, {ENTRY_COLUMNS}
                    FROM dead_letters l
                    JOIN conversations c ON c.conversation_id = l.conversation_id AND c.delete_time IS NULL
                    JOIN members m ON m.conversation_id = l.conversation_id AND m.username = l.username
                                  AND m.visible @> l.seq
                    JOIN messages e ON e.conversation_id = l.conversation_id AND e.seq = l.seq
                    WHERE ($1::text IS NULL OR l.username = $1) AND l.dead_letter_id > $2
                      AND ($3 = '' OR l.conversation_id = $3) AND ($4 = '' OR l.device_id = $4)
                    ORDER BY l.dead_letter_id LIMIT $5 + 1
                ) r
                WINDOW w AS (ORDER BY r.dead_letter_id)
            ) b WHERE b.nth <= $5 AND b.bytes_before < $6 ORDER BY b.dead_letter_id""",
            username,
            after,
            conversation_id,
            device_id,
            limit,
            PAGE_BYTES,
        )
        letters = [
            DeadLetter(
                row["dead_letter_id"],
                row["username"],
                row["device_id"],
                to_entry(row),
                row["attempts"],
                row["last_reason"],
                row["first_time"],
                row["last_time"],
                row["give_up_time"],
            )
            for row in rows
        ]
        return letters, bool(rows) and rows[0]["read_count"] > len(rows)

    async def redrive(self, ids: Sequence[int], username: str | None) -> list[Redriven]:
        """Makes deliveries of dead letters, as many as their devices have room for; gives which.

        Two statements: the second one looks when no other claim or ack of these devices is under way.
        """
        async with self._database.transaction() as connection:
            await connection.execute(
                """SELECT 1 FROM devices d
                   WHERE (d.username, d.device_id) IN (
                       SELECT l.username, l.device_id FROM dead_letters l
                       WHERE l.dead_letter_id = ANY ($1) AND ($2::text IS NULL OR l.username = $2))
                   ORDER BY d.username, d.device_id FOR NO KEY UPDATE""",
                list(ids),
                username,
            )
            rows = await connection.fetch(_REDRIVE, list(ids), username, MAX_UNSETTLED)
        return [Redriven(row["dead_letter_id"], row["username"], row["device_id"]) for row in rows]

    async def delete(self, ids: Sequence[int], username: str | None) -> list[int]:
        """Deletes dead letters; gives the ids of those that were there."""
        rows = await self._database.fetch(
            f"DELETE FROM dead_letters d USING ({_SEEN}) s WHERE d.dead_letter_id = s.dead_letter_id"
            " RETURNING d.dead_letter_id",
            list(ids),
            username,
        )
        return sorted(row["dead_letter_id"] for row in rows)

    async def count_made(self) -> None:
        """Counts all that were ever made; a failover may skip some dozens of ids, which then count too."""
        self.made_count = int(
            await self._database.fetchval(
                "SELECT coalesce(pg_sequence_last_value("
                "pg_get_serial_sequence('dead_letters', 'dead_letter_id')::regclass), 0)"
            )
        )
