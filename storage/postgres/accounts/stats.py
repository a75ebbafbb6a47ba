"""How much there is, for an operator: rows, bytes, and the oldest of what should have an end. Cheap at any size.

Rows are counted up to 10,000; above, the planner's estimate is taken, and marked as one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from storage.postgres.connections.database import Connection, Database
from storage.postgres.devices.devices import WORKER_LIFE_SECONDS

_COUNTED_ROWS = 10_000

_TABLES = """
SELECT c.relname AS name, greatest(c.reltuples::bigint, s.n_live_tup, 0) AS estimate,
       pg_table_size(c.oid) AS table_bytes, pg_indexes_size(c.oid) AS index_bytes
FROM pg_class c LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') ORDER BY c.relname"""

# Each by an index, the first row alone.
_OLDEST = {
    "commit_feed": "SELECT create_time FROM commit_feed ORDER BY feed_id LIMIT 1",
    "content_changes": "SELECT create_time FROM content_changes ORDER BY create_time LIMIT 1",
    "dead_letters": "SELECT create_time FROM dead_letters ORDER BY dead_letter_id LIMIT 1",
    "revocations": "SELECT revoke_time FROM revocations ORDER BY revocation_id LIMIT 1",
    "ended_logins": """SELECT o.end_time FROM (SELECT least(expire_time, end_time) AS end_time FROM logins
                       ORDER BY least(expire_time, end_time) LIMIT 1) o WHERE o.end_time < clock_timestamp()""",
}

_DATABASE = """
SELECT d.deployment_id, d.epoch, d.create_time, current_setting('server_version') AS server_version,
       pg_database_size(current_database()) AS database_bytes,
       (SELECT count(*) FROM workers w WHERE w.beat_time > clock_timestamp() - make_interval(secs => $1)) AS workers,
       coalesce(pg_sequence_last_value(pg_get_serial_sequence('dead_letters', 'dead_letter_id')::regclass), 0)
           AS dead_letters_made,
       ARRAY(SELECT m.name FROM migrations m ORDER BY m.name) AS migrations
FROM deployment d"""


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table; `is_estimate` says that the rows were not counted."""

    name: str
    rows: int
    is_estimate: bool
    table_bytes: int
    index_bytes: int


@dataclass(frozen=True, slots=True)
class Stats:
    """A deployment in figures.

    Attributes:
        server_version: PostgreSQL's.
        workers: those that beat.
        dead_letters_made: ever.
        oldest: by table, the oldest row of what has an end; None: there is none.
    """

    deployment_id: str
    epoch: int
    create_time: datetime
    server_version: str
    database_bytes: int
    workers: int
    dead_letters_made: int
    migrations: list[str]
    tables: list[TableSize]
    oldest: Mapping[str, datetime | None]


async def read_stats(database: Database) -> Stats:
    """Reads the figures; a few statements for each table, none of which reads more than 10,000 rows.

    Raises:
        Unavailable: the database is.
    """
    async with database.acquire() as connection:
        row = await connection.fetchrow(_DATABASE, WORKER_LIFE_SECONDS)
        assert row is not None  # the schema was looked at
        tables = [
            TableSize(table["name"], *await _count(connection, table["name"], table["estimate"]), *list(table)[2:])
            for table in await connection.fetch(_TABLES)
        ]
        oldest = {name: await connection.fetchval(sql) for name, sql in _OLDEST.items()}
    return Stats(**row, tables=tables, oldest=oldest)


async def _count(connection: Connection, table: str, estimate: int) -> tuple[int, bool]:
    """Returns how many rows a table has, and whether that is an estimate."""
    counted = await connection.fetchval(
        f'SELECT count(*) FROM (SELECT 1 FROM "{table}" LIMIT $1) counted', _COUNTED_ROWS + 1
    )
    is_estimate = counted > _COUNTED_ROWS
    return (max(estimate, counted) if is_estimate else counted), is_estimate
