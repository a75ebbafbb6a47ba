"""Distinguishes poolers that keep a session for each connection from those that lend it for one transaction."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import structlog
from asyncpg import exceptions as pg

from storage.errors import Lasting, Unavailable
from storage.postgres.connections.connection import Connection
from storage.postgres.connections.faults import TRANSACTION_POOLING

_log = structlog.get_logger(__name__)

# A pooler of sessions that has no other session to give keeps the second connection waiting.
_WAIT_SECONDS = 2.0
# A pooler with many clients may give one the same session again by chance.
_ROUNDS = 4
_PID = "SELECT pg_backend_pid()"


async def check_pooling(connection: Connection, connect: Callable[[], Awaitable[Connection]]) -> None:
    """Passes a connection that has a session of the server to itself; asks nothing where there is no pooler.

    While one connection is open, another one has a transaction open. If both are, or the first one then is, at the
    session that the other one has or had, sessions are lent.

    Args:
        connect: opens the other one.

    Raises:
        Lasting: the pooler lends sessions for a transaction, or for a statement.
    """
    if not connection.is_pooled:
        return
    other: Connection | None = None
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            other = await connect()
            is_lent = False
            for _ in range(_ROUNDS):
                is_lent = is_lent or await _share(connection, other)
    except (pg.DuplicatePreparedStatementError, pg.InvalidSQLStatementNameError):
        is_lent = True  # a statement that was prepared is looked for in another session
    except asyncpg.PostgresError as error:
        if "statement pooling" not in str(error):
            raise
        is_lent = True
    except Lasting:
        raise
    except (TimeoutError, Unavailable):
        is_lent = False
        _log.warning("the pooler gives no second session of the server; its pool is small, or others have it")
    finally:
        if other is not None:
            other.terminate()
    if is_lent:
        raise Lasting(TRANSACTION_POOLING)


async def _share(connection: Connection, other: Connection) -> bool:
    """Whether the two come to one session, or the first one to another session than before."""
    mine = await connection.fetchval(_PID)
    await other.execute("BEGIN")
    is_same = bool(await other.fetchval(_PID) == mine)
    # Where there is but one session, the first one would wait for it now.
    is_same = is_same or bool(await connection.fetchval(_PID) != mine)
    await other.execute("ROLLBACK")
    return is_same
