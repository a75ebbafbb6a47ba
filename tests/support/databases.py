"""PostgreSQL and Valkey for the tests: started once a run; each module or test has a schema of its own."""

import asyncio
import contextlib
import secrets
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from storage.embedded import EmbeddedPostgres, EmbeddedValkey
from storage.postgres.connections.database import Database
from storage.postgres.schema.migrate import migrate
from tests.support.spawning import Spawned


@dataclass(frozen=True, slots=True)
class Backends:
    """The running servers of this run, and where clients find them."""

    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey


@contextlib.contextmanager
def running_backends() -> Iterator[Backends]:
    """Starts both in a short directory of their own; stops them and removes it at the end."""
    directory = Path(tempfile.mkdtemp(prefix="parley-test-"))
    backends = Backends(EmbeddedPostgres(directory), EmbeddedValkey(directory))
    try:
        backends.valkey.spawn()
        backends.postgres.start()
        backends.valkey.wait()
        yield backends
    finally:
        backends.valkey.stop()
        backends.postgres.stop()
        shutil.rmtree(directory, ignore_errors=True)


class _Valkey(Spawned, EmbeddedValkey):
    """A Valkey that can be started again in the middle of a test."""


@contextlib.contextmanager
def running_valkey() -> Iterator[EmbeddedValkey]:
    """Starts a Valkey for a test that hurts it; ends it and removes its directory afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="parley-valkey-"))
    valkey = _Valkey(directory)
    try:
        valkey.start()
        yield valkey
    finally:
        valkey.stop()
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def frozen(valkey: EmbeddedValkey) -> Iterator[None]:
    """Stops a Valkey where it is, with its connections open, and lets it go on at the end."""
    assert valkey.process is not None
    valkey.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        valkey.process.send_signal(signal.SIGCONT)


@contextlib.asynccontextmanager
async def fresh_schema(postgres_url: str, *, prefix: str = "test") -> AsyncIterator[str]:
    """Makes a migrated schema with a name of its own; gives the name; drops it at the end."""
    name = f"{prefix}_{secrets.token_hex(4)}"
    await migrate(postgres_url, schema=name)
    try:
        yield name
    finally:
        connection = await asyncpg.connect(postgres_url)
        try:
            await connection.execute(f'DROP SCHEMA "{name}" CASCADE')
        finally:
            await connection.close()


@contextlib.asynccontextmanager
async def open_database(postgres_url: str, schema: str) -> AsyncIterator[Database]:
    """Opens a pool on a schema; closes it at the end."""
    database = Database(postgres_url, schema=schema)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def watched_database(postgres_url: str, **options: float) -> AsyncIterator[Database]:
    """Opens a pool on the default schema that notices when the database goes and comes, as a worker's does."""
    database = Database(postgres_url, **options)
    await database.open()
    watching = asyncio.create_task(database.outage.run())
    try:
        yield database
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await database.close()
