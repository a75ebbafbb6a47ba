"""The connection pool: every statement has a time limit, and driver errors become storage errors here.

Holds no SQL of its own but the settings of a connection. Connections keep no state between uses (no LISTEN, no SET, no
session locks), so the pool skips asyncpg's reset round trip.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import asyncpg
from asyncpg import exceptions as pg

from storage import errors

# Ends a wait for a row that another transaction holds; the writer then lets that conversation wait alone.
LOCK_TIMEOUT_MS = 250


class Connection(asyncpg.Connection):
    """A connection whose release costs no round trip."""

    def get_reset_query(self) -> str:
        """Returns nothing to run: connections keep no state."""
        return ""


class Database:
    """A pool of connections to one PostgreSQL.

    Args:
        url: a PostgreSQL URL.
        schema: the schema that holds Parley's tables; it is the search path of every connection.
        pool_size: connections at most, for reads and rare writes; lanes of the writer hold one each beyond that.
        command_timeout_seconds: the limit of a statement, and of waiting for a connection.
    """

    def __init__(
        self, url: str, *, schema: str = "parley", pool_size: int = 8, command_timeout_seconds: float = 5.0
    ) -> None:
        self._url = url
        self._schema = schema
        self._pool_size = pool_size
        self._timeout = command_timeout_seconds
        self._pool: asyncpg.Pool | None = None
        self.statement_count = 0

    async def open(self) -> None:
        """Makes the first connection.

        Raises:
            Unavailable: there is no answer in time.
        """
        with translated():
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=1,
                max_size=self._pool_size,
                connection_class=Connection,
                command_timeout=self._timeout,
                timeout=self._timeout,
                max_inactive_connection_lifetime=300,
                server_settings=self._server_settings(),
                init=_set_codecs,
            )

    async def close(self) -> None:
        """Waits up to 5 s for what runs, then closes."""
        if self._pool is not None:
            try:
                async with asyncio.timeout(5):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()
            self._pool = None

    async def connect(self) -> Connection:
        """Opens a connection outside the pool, for an owner that holds it.

        Raises:
            Unavailable: there is no answer in time.
        """
        with translated():
            connection = await asyncpg.connect(
                self._url,
                connection_class=Connection,
                command_timeout=self._timeout,
                timeout=self._timeout,
                server_settings=self._server_settings(),
            )
            await _set_codecs(connection)
            return connection

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """Lends a connection; driver errors inside come out as storage errors.

        Raises:
            Unavailable: none is free in time, or PostgreSQL does not answer.
        """
        if self._pool is None:
            raise errors.Unavailable("the database is not open")
        with translated():
            async with self._pool.acquire(timeout=self._timeout) as connection:
                yield cast("Connection", connection)  # a stand-in with the same methods, void after its return

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lends a connection inside a READ COMMITTED transaction. Inside it, await nothing but the database."""
        async with self.acquire() as connection, connection.transaction():
            yield connection

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """Runs one statement on its own and gives its rows."""
        self.statement_count += 1
        async with self.acquire() as connection:
            return list(await connection.fetch(sql, *args))

    async def fetchrow(self, sql: str, *args: object) -> asyncpg.Record | None:
        """Runs one statement on its own and gives its first row, if it has one."""
        self.statement_count += 1
        async with self.acquire() as connection:
            return await connection.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: object) -> Any:
        """Runs one statement on its own and gives the first column of its first row, or None."""
        self.statement_count += 1
        async with self.acquire() as connection:
            return await connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: object) -> str:
        """Runs one statement on its own and gives its command tag, for example "UPDATE 1"."""
        self.statement_count += 1
        async with self.acquire() as connection:
            return str(await connection.execute(sql, *args))

    def _server_settings(self) -> dict[str, str]:
        return {
            "application_name": "parley",
            "search_path": self._schema,
            "lock_timeout": str(LOCK_TIMEOUT_MS),
            "timezone": "UTC",
            "jit": "off",  # plans here are short; compiling them costs more than running them
        }


async def _set_codecs(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


@contextmanager
def translated() -> Any:
    """Turns what asyncpg and sockets raise into storage errors; others pass."""
    try:
        yield
    except pg.LockNotAvailableError as error:
        raise errors.LockTimeout(str(error)) from error
    except pg.UniqueViolationError as error:
        raise errors.Conflict(error.constraint_name or str(error)) from error
    except (pg.DataError, pg.IntegrityConstraintViolationError, pg.ProgramLimitExceededError) as error:
        raise errors.BadData(str(error)) from error
    except (
        pg.PostgresConnectionError,
        pg.OperatorInterventionError,
        pg.InsufficientResourcesError,
        pg.TransactionRollbackError,
        pg.ReadOnlySQLTransactionError,
        pg.CannotConnectNowError,
        asyncpg.InterfaceError,
        OSError,
        TimeoutError,
    ) as error:
        raise errors.Unavailable(f"{type(error).__name__}: {error}") from error
