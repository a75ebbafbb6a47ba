"""Migrations that build indexes while others write: CREATE INDEX CONCURRENTLY, which no transaction may hold.

Such a file begins with `-- outside a transaction`. Each of its statements is idempotent and runs by itself; the file is
noted as run when all have. A build that was cut off leaves an index that is INVALID: it is dropped and made anew.

A build waits for every transaction of the database that has a snapshot, a statement that waits for a lock included. So
who waits for the migrations' lock asks again and again, and never waits inside a statement (`migration_lock.py`).
"""

import re
from collections.abc import Awaitable, Callable

import structlog

from storage.postgres.connections.connection import Connection

Connect = Callable[[], Awaitable[Connection]]

_log = structlog.get_logger(__name__)

_MARK = "-- outside a transaction"
# Ten million rows take about a minute, and a dump that runs meanwhile is waited for.
_BUILD_SECONDS = 3600.0
_NAME = re.compile(r"CREATE INDEX CONCURRENTLY IF NOT EXISTS (\w+) ON")

_LIST_INVALID = """
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relname = ANY ($1) AND c.relnamespace = current_schema()::regnamespace AND NOT i.indisvalid"""


def runs_outside(sql: str) -> bool:
    """Whether a migration has to run outside a transaction."""
    return sql.startswith(_MARK)


def for_empty_tables(sql: str) -> str:
    """Returns the same for a schema that is just being made, where nobody writes: it can run in a transaction."""
    return sql.replace(" CONCURRENTLY", "")


async def release_snapshot(connection: Connection) -> None:
    """Has a transaction hold no snapshot until its next statement.

    What was fetched keeps its portal, and with it the snapshot, until another statement takes the portal's place. One
    of the simple protocol, which `execute` without arguments is, leaves none.
    """
    await connection.execute("SELECT 1")


async def build_indexes(connect: Connect, sql: str) -> None:
    """Runs the statements of such a migration, one by one, on a connection of its own.

    Args:
        connect: opens a connection whose search path is Parley's schema.
    """
    names = _NAME.findall(sql)
    connection = await connect()
    try:
        await connection.execute("SET lock_timeout = 0")  # a wait that is given up leaves an index that is INVALID
        for row in await connection.fetch(_LIST_INVALID, names):
            _log.warning("dropping an index whose build was cut off", index=row["relname"])
            await connection.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{row["relname"]}"', timeout=_BUILD_SECONDS)
        _log.info("building indexes while others write; open transactions are waited for", indexes=names)
        for statement in sql.split(";\n"):
            if statement.strip():
                await connection.execute(statement, timeout=_BUILD_SECONDS)
    finally:
        await connection.close()
