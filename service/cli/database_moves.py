"""Moves a deployment's data between databases: export and import.

The file of an export is in `storage/postgres/archive`; docs/operations/upgrade.md and backup.md say when to use what.
`database_upgrade.py` makes of both the step to another version of the embedded PostgreSQL.
Each verb raises StartError with one line for the operator, and leaves what was there as it was.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import asyncpg

from service.domain import distribution
from service.host.data_directory import DataDirectoryError, hold_data_directory
from service.settings.start_error import StartError
from service.settings.tree import Settings
from storage.embedded import EmbeddedError, EmbeddedPostgres
from storage.embedded.postgres import read_major
from storage.errors import StorageError
from storage.postgres.archive.dump import is_dump, restore_dump
from storage.postgres.archive.export import export_database
from storage.postgres.archive.form import ArchiveError, Manifest
from storage.postgres.archive.load import check_archive, count_accounts, load_archive
from storage.postgres.connections.connection import Connection
from storage.postgres.connections.primary import Primary
from storage.postgres.schema.migrate import migrate
from storage.urls import mask_url

Tell = Callable[[str], None]
_T = TypeVar("_T")

_STATEMENT_SECONDS = 3600.0


def export_to(settings: Settings, path: Path, *, force: bool, tell: Tell) -> Manifest:
    """Writes all data into a file, as one snapshot; a server may run on them.

    Args:
        force: take the place of a file that is there.
        tell: called with what is done now.
    """
    if path.exists() and not force:
        raise StartError(f"{path} is there already: name another file, or say --force")
    with _database(settings, may_run=True) as url:
        return export_all(url, settings.database.db_schema, path, tell)


def import_from(settings: Settings, path: Path, *, tell: Tell) -> int:
    """Fills an empty deployment from an export, or from a dump in the custom format of pg_dump.

    The migrations that the file lacks are run afterwards.

    Returns:
        How many accounts there are then.
    """
    schema = settings.database.db_schema
    manifest = _check(path)
    with _database(settings, may_run=False) as url:
        if manifest is None:
            tell("restoring the dump")
            _run(lambda: restore_dump(url, path, schema=schema), url)
            _run(lambda: migrate(url, schema=schema), url)
        else:
            import_all(url, schema, path, manifest, tell)
        return _run(lambda: _count_accounts(url, schema), url)


def export_all(url: str, schema: str, path: Path, tell: Tell) -> Manifest:
    """Writes what a database has into a file."""

    async def work() -> Manifest:
        connection = await _connect(url)
        try:
            return await export_database(
                connection,
                path,
                schema=schema,
                version=distribution.version(),
                tell=lambda name: tell(f"reading {name}"),
            )
        finally:
            connection.terminate()

    return _run(work, url)


def import_all(url: str, schema: str, path: Path, manifest: Manifest, tell: Tell) -> None:
    """Fills an empty database from a file."""

    async def work() -> None:
        await migrate(url, schema=schema, only=manifest.migrations)
        connection = await _connect(url)
        try:
            await load_archive(connection, path, schema=schema, tell=lambda name: tell(f"filling {name}"))
        finally:
            connection.terminate()
        await migrate(url, schema=schema)

    _run(work, url)


async def _count_accounts(url: str, schema: str) -> int:
    connection = await _connect(url)
    try:
        return await count_accounts(connection, schema)
    finally:
        connection.terminate()


def _check(path: Path) -> Manifest | None:
    """What an export says of itself; None for a dump."""
    try:
        return None if is_dump(path) else check_archive(path)
    except ArchiveError as error:
        raise StartError(str(error)) from None


def _run(work: Callable[[], Coroutine[object, object, _T]], url: str) -> _T:
    try:
        return asyncio.run(work())
    except ArchiveError as error:  # the file's fault
        raise StartError(str(error)) from None
    except (StorageError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise StartError(f"the database at {mask_url(url)} failed: {error}") from None


async def _connect(url: str) -> Connection:
    return await Primary(url).connect(command_timeout=_STATEMENT_SECONDS)


@contextmanager
def _database(settings: Settings, *, may_run: bool) -> Iterator[str]:
    """Returns the URL of the database: that of the settings, or of the embedded one, which is started if need be."""
    if settings.database.url is not None:
        yield settings.database.url.reveal()
        return
    server = EmbeddedPostgres(settings.data_dir)
    if may_run and server.answers():
        yield server.url
        return
    if may_run and read_major(server.directory) is None:
        raise StartError(f"there is no PostgreSQL in {server.directory}: name the data directory by --data-dir")
    with held(settings.data_dir) as data_dir, running(EmbeddedPostgres(data_dir)) as started:
        yield started.url


@contextmanager
def held(data_dir: Path) -> Iterator[Path]:
    """Has the data directory for itself, and gives its whole path."""
    try:
        with hold_data_directory(data_dir, lambda: None) as directory:
            yield directory.path
    except DataDirectoryError as error:
        raise StartError(str(error)) from None


@contextmanager
def running(server: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """Runs a server for as long as it is entered."""
    try:
        server.start()
    except EmbeddedError as error:
        raise StartError(str(error)) from None
    try:
        yield server
    finally:
        server.stop()
