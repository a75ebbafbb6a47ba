"""What removes rows that nobody needs any more: in batches of 1,000, by one worker at a time.

A chore's row in `upkeep` is locked while a batch runs; whoever finds it locked leaves the chore to the other. Chores
that look through a table walk along its key, a slice a batch, and the row says where the next slice begins; so a walk
goes on where a worker that was killed left it. docs/operations/growth.md lists what grows and what ends it.
"""

import asyncio
import time
from dataclasses import dataclass

from storage.postgres.connections.database import Database

BATCH_ROWS = 1000
# What others wait behind a batch is short; between two of them they have the disk.
_PAUSE_SECONDS = 0.02
_OFTEN_SECONDS = 60.0
_DAILY_SECONDS = 86_400.0
_LOWEST = {"text": "''", "bigint": "-9223372036854775808"}

# The conversation of row {0} is deleted, or its device is not there (any more).
_IS_ORPHANED = """(EXISTS (SELECT 1 FROM conversations c
                 WHERE c.conversation_id = {0}.conversation_id AND c.delete_time IS NOT NULL)
         OR NOT EXISTS (SELECT 1 FROM devices d WHERE d.username = {0}.username AND d.device_id = {0}.device_id))"""


@dataclass(frozen=True, slots=True)
class Chore:
    """Something that ends growth.

    Attributes:
        every_seconds: how long after it was done it is due again.
        sql: one batch. $1 is how many rows it looks at, $2 where it begins; gives `seen` and `removed` rows, and
            `position`, where the next batch begins. It is done when it has seen fewer than it may.
    """

    name: str
    every_seconds: float
    sql: str


def _expiry(table: str, key: str, is_over: str, order: str) -> Chore:
    """What is over goes; an index finds it, the oldest first."""
    sql = f"""
        WITH over AS (
            SELECT o.{key} FROM {table} o WHERE {is_over} ORDER BY {order} LIMIT $1
        ), gone AS (
            DELETE FROM {table} t USING over WHERE t.{key} = over.{key} RETURNING 1
        ) SELECT count(*) AS seen, count(*) AS removed, $2::text[] AS position FROM gone"""
    return Chore(table, _OFTEN_SECONDS, sql)


def _walk(table: str, keys: dict[str, str], is_gone: str) -> Chore:
    """What belongs to nothing any more goes; all rows are looked at, along the key (column: type)."""
    columns = ", ".join(keys)
    # Below every key where the walk begins. A condition for that case would keep the index from being used.
    begin = ", ".join(
        f"coalesce(($2::text[])[{nth}]::{kind}, {_LOWEST[kind]})" for nth, kind in enumerate(keys.values(), 1)
    )
    same = " AND ".join(f"t.{column} = s.{column}" for column in keys)
    texts = ", ".join(f"s.{column}::text" for column in keys)
    last = ", ".join(f"s.{column} DESC" for column in keys)
    sql = f"""
        WITH slice AS MATERIALIZED (
            SELECT {columns} FROM {table} WHERE ({columns}) > ({begin}) ORDER BY {columns} LIMIT $1
        ), gone AS (
            DELETE FROM {table} t USING slice s WHERE {same} AND {is_gone} RETURNING 1
        ) SELECT (SELECT count(*) FROM slice) AS seen, (SELECT count(*) FROM gone) AS removed,
                 (SELECT ARRAY[{texts}] FROM slice s ORDER BY {last} LIMIT 1) AS position"""
    return Chore(f"{table} walk", _DAILY_SECONDS, sql)


CHORES = (
    _expiry("revocations", "revocation_id", "o.expire_time < clock_timestamp()", "o.expire_time"),
    # Ended logins stay a week, so that a late use of their tokens is told what happened.
    _expiry(
        "logins",
        "login_id",
        "least(o.expire_time, o.end_time) < clock_timestamp() - interval '7 days'",
        "least(o.expire_time, o.end_time)",
    ),
    _expiry(
        "content_changes", "change_id", "o.create_time < clock_timestamp() - interval '10 minutes'", "o.create_time"
    ),
    _walk("cursors", {"username": "text", "device_id": "text", "conversation_id": "text"}, _IS_ORPHANED.format("t")),
    _walk(
        "deliveries",
        {"username": "text", "device_id": "text", "conversation_id": "text", "seq": "bigint"},
        _IS_ORPHANED.format("t"),
    ),
    _walk(
        "dead_letters",
        {"dead_letter_id": "bigint"},
        f"(t.create_time < clock_timestamp() - interval '90 days' OR {_IS_ORPHANED.format('t')})",
    ),
    # Epochs are milliseconds since 1970, but for the first ones. A device that comes back from before such a restore
    # begins its conversations anew, as one of an epoch that is not known.
    _walk(
        "restores",
        {"conversation_id": "text", "epoch": "bigint"},
        "(t.epoch < extract(epoch FROM clock_timestamp() - interval '1 year') * 1000"
        " OR EXISTS (SELECT 1 FROM conversations c"
        " WHERE c.conversation_id = t.conversation_id AND c.delete_time IS NOT NULL))",
    ),
)


class Upkeep:
    """Does chores; safe to run on several workers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self, *, budget_seconds: float) -> int:
        """Does what is due, no new batch after the budget; gives how many rows went.

        Raises:
            Unavailable: the database is.
        """
        end = time.monotonic() + budget_seconds
        removed = 0
        for chore in CHORES:
            while time.monotonic() < end and (count := await self._run_batch(chore)) is not None:
                removed += count
                await asyncio.sleep(_PAUSE_SECONDS)
        return removed

    async def _run_batch(self, chore: Chore) -> int | None:
        """Does a batch in one transaction; None when the chore is not due, or another worker is at it."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                "SELECT position, due_time <= clock_timestamp() AS is_due FROM upkeep"
                " WHERE name = $1 FOR UPDATE SKIP LOCKED",
                chore.name,
            )
            if row is None:
                tag = await connection.execute(
                    "INSERT INTO upkeep (name) VALUES ($1) ON CONFLICT DO NOTHING", chore.name
                )
                return 0 if tag == "INSERT 0 1" else None
            if not row["is_due"]:
                return None
            done = await connection.fetchrow(chore.sql, BATCH_ROWS, row["position"])
            assert done is not None  # it aggregates
            is_through = done["seen"] < BATCH_ROWS
            await connection.execute(
                "UPDATE upkeep SET position = $2,"
                " due_time = clock_timestamp() + make_interval(secs => $3) WHERE name = $1",
                chore.name,
                [] if is_through else done["position"],
                chore.every_seconds if is_through else 0.0,
            )
        return int(done["removed"])
