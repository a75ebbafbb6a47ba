"""Lets one server at a time change the schema.

The lock is a transaction's: it ends with that, whatever becomes of who holds it, and of the session behind a pooler.
"""

import asyncio

import structlog

from storage.errors import MigrationError
from storage.postgres.connections.connection import Connection
from storage.postgres.schema.concurrent_indexes import release_snapshot

_log = structlog.get_logger(__name__)

_LOCK = 0x9A71E7  # any number, the same in every version
_WAIT_SECONDS = 60.0
_RETRY_SECONDS = 0.25
_HOLDER = """
SELECT l.pid, a.application_name, a.usename, a.xact_start, a.backend_start
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = $1::bigint::oid AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
LIMIT 1"""


async def take_lock(connection: Connection, *, wait_seconds: float = _WAIT_SECONDS) -> None:
    """Takes the lock for the transaction that is open; waits for another holder, and says who that is.

    Raises:
        MigrationError: somebody else holds it for longer.
    """
    clock = asyncio.get_running_loop().time
    begin = clock()
    is_told = False
    while not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
        holder = await _describe_holder(connection)
        if not is_told:
            _log.warning("waiting for somebody else's migrations", holder=holder)
            is_told = True
        if clock() - begin > wait_seconds:
            raise MigrationError(
                f"somebody else has held the lock of the migrations for more than {wait_seconds:g} s: {holder};"
                " wait for that server, or end its session with pg_terminate_backend(pid)"
            )
        await release_snapshot(connection)  # else an index that the holder builds would wait for this transaction
        await asyncio.sleep(_RETRY_SECONDS)


async def _describe_holder(connection: Connection) -> str:
    row = await connection.fetchrow(_HOLDER, _LOCK)
    if row is None:
        return "nobody any more"
    since = row["xact_start"] or row["backend_start"]
    who = f'application "{row["application_name"] or ""}", role "{row["usename"] or ""}"'
    return f"pid {row['pid']}, {who}, since {since.isoformat(' ', 'seconds') if since else 'a time that is not shown'}"
