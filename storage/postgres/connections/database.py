"""The database as everything else sees it: connections to the primary, lent or held, each statement with a time limit.

Holds no SQL of its own. What a connection is, is in `connection.py`; which server, in `primary.py`; whether it is
there at all, in `outage.py`.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg

from storage import errors
from storage.postgres.connections.connection import Connection, tells_of_server, translated
from storage.postgres.connections.outage import Outage
from storage.postgres.connections.pool import Pool
from storage.postgres.connections.primary import Primary

__all__ = ["Connection", "Database", "translated"]

# Ends a wait for a row that another transaction holds; the writer then lets that conversation wait alone.
LOCK_TIMEOUT_MS = 250
_CLOSE_SECONDS = 5.0


class Database:
    """Connections to one PostgreSQL, or to the primary of several.

    Args:
        url: a PostgreSQL URL, of one host or several.
        schema: the schema that holds Parley's tables; it is the search path of every connection.
        pool_size: connections at most, for reads and rare writes; lanes of the writer hold one each beyond that.
        command_timeout_seconds: the limit of a statement, and of waiting for a connection.
        allows_weak_durability: as `session_settings` has it.

    Raises:
        UrlError: the URL can't be used.

    Attributes:
        outage: whether it is away; runs only where `outage.run()` does.
        primary: which server it is.
        pool: what lends connections; None while the database is not open.
        generation: grows when all connections are to be made anew.
        statement_count: statements so far.
    """

    def __init__(
        self,
        url: str,
        *,
        schema: str = "parley",
        pool_size: int = 8,
        command_timeout_seconds: float = 5.0,
        allows_weak_durability: bool = False,
    ) -> None:
        self._pool_size = pool_size
        self._timeout = command_timeout_seconds
        self.pool: Pool | None = None
        self.primary = Primary(
            url,
            schema=schema,
            lock_timeout_ms=LOCK_TIMEOUT_MS,
            allows_weak_durability=allows_weak_durability,
            on_newer=self.expire,
        )
        self.outage = Outage(self._probe)
        self.generation = 0
        self.statement_count = 0

    async def open(self) -> None:
        """Makes the first connection.

        Raises:
            Unavailable: there is no answer in time.
        """
        pool = Pool(self.connect, size=self._pool_size, wait_seconds=self._timeout, on_lost=self.expire)
        pool.expire(self.generation)
        pool.give_back(await pool.take())
        self.pool = pool

    async def close(self) -> None:
        """Waits up to 5 s for what runs, then closes."""
        if self.pool is not None:
            await self.pool.close(_CLOSE_SECONDS)
            self.pool = None

    async def connect(self) -> Connection:
        """Opens a connection outside the pool, for an owner that holds it.

        Raises:
            Unavailable: there is no answer in time, or the database is known to be away.
        """
        if self.outage.is_away:
            raise errors.Unavailable("the database is away")
        try:
            return await self._connect()
        except errors.Unavailable:
            self.outage.suspect()
            raise

    def expire(self) -> None:
        """Has every connection made anew: those there are may lead to a server that is the primary no more."""
        self.generation += 1
        self.primary.doubt()
        if self.pool is not None:
            self.pool.expire(self.generation)

    def is_good(self, connection: Connection) -> bool:
        """Whether a held connection can be used on."""
        return connection.generation == self.generation and connection.is_usable()

    @contextmanager
    def guarded(self, connection: Connection) -> Iterator[None]:
        """What is done with a connection inside fails with storage errors, and what that tells of the server is noted.

        Raises:
            Unavailable: PostgreSQL does not answer, or not as a primary.
        """
        try:
            with translated():
                yield
        except errors.LockTimeout:
            raise
        except errors.Unavailable as error:
            if tells_of_server(error.__cause__):
                if connection.generation == self.generation:
                    self.expire()
                self.outage.suspect()
            raise

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """Lends a connection; driver errors inside come out as storage errors.

        Raises:
            Unavailable: none is free in time, or PostgreSQL does not answer.
        """
        if self.pool is None:
            raise errors.Unavailable("the database is not open")
        pool = self.pool
        with translated():
            connection = await pool.take()
        try:
            with self.guarded(connection):
                yield connection
        finally:
            pool.give_back(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lends a connection inside a READ COMMITTED transaction. Inside it, await nothing but the database."""
        async with self.acquire() as connection:
            await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            try:
                yield connection
            except BaseException:
                await _roll_back(connection)
                raise
            await connection.execute("COMMIT")

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

    async def _probe(self) -> None:
        (await self._connect()).terminate()

    async def _connect(self) -> Connection:
        with translated():
            connection = await self.primary.connect(command_timeout=self._timeout)
            # Before anything is awaited: what was looked at is of this generation, and of no later one.
            connection.generation = self.generation
            try:
                await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
            except BaseException:
                connection.terminate()
                raise
        return connection


async def _roll_back(connection: Connection) -> None:
    """Ends a transaction that failed; the connection goes with it where that does not work at once."""
    if connection.is_spent or connection.is_closed():
        return
    try:
        await connection.execute("ROLLBACK")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
        connection.terminate()
