"""Moves a deployment's data between databases: export, import, and the step to another version of PostgreSQL.

The file of an export is in `storage/postgres/archive`; docs/operations/upgrade.md and backup.md say when to use what.
Each verb raises StartError with one line for the operator, and leaves what was there as it was.
"""

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import asyncpg

from service.config import Settings
from service.data_directory import DataDirectoryError, hold_data_directory
from service.start_error import StartError
from storage.embedded import EmbeddedError, EmbeddedPostgres
from storage.embedded.other_postgres import OtherPostgres, find_programs
from storage.embedded.postgres import read_major
from storage.errors import StorageError
from storage.postgres.archive.dump import is_dump, restore_dump
from storage.postgres.archive.export import export_database
from storage.postgres.archive.form import ArchiveError, Manifest
from storage.postgres.archive.load import check_archive, count_accounts, load_archive
from storage.postgres.connection import Connection
from storage.postgres.migrate import migrate
from storage.postgres.primary import Primary
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
        return _export(url, settings.database.db_schema, path, tell)


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
            _import(url, schema, path, manifest, tell)
        return _run(lambda: _count_accounts(url, schema), url)


def upgrade_embedded(
    settings: Settings, programs: Path | None, *, database: str = "postgres", tell: Tell
) -> tuple[int, int, Path] | None:
    """Moves the embedded PostgreSQL's data to the version that is installed now.

    The old directory is kept beside the new one, under the name `postgres-MAJOR`.

    Args:
        programs: the `bin` directory of the old version; None: looked for where Debian and its like have it.
        database: of the old directory, the one that has the schema.

    Returns:
        The old and the new major version and where the old directory is; None: there is nothing to do.
    """
    if settings.database.url is not None:
        raise StartError("database.url names a PostgreSQL of your own; its upgrade is that server's (pg_upgrade)")
    with _held(settings.data_dir) as data_dir, ExitStack() as stack:
        new = EmbeddedPostgres(data_dir)
        old_major, new_major = read_major(new.directory), new.installed_major()
        if old_major is None:
            raise StartError(f"there is no PostgreSQL in {new.directory}")
        if old_major == new_major:
            return None
        archive = data_dir / f"postgres-{old_major}.parley"
        kept = data_dir / f"postgres-{old_major}"
        if kept.exists():
            raise StartError(f"{kept} is there already, from an earlier upgrade: move it away first")
        old = OtherPostgres(data_dir, find_programs(old_major, programs), major=old_major, database=database)
        tell(f"exporting what PostgreSQL {old_major} has")
        stack.callback(archive.unlink, missing_ok=True)
        with _running(old):
            manifest = _export(old.url, settings.database.db_schema, archive, tell)
        new.directory.rename(kept)
        try:
            with _running(new):
                _import(new.url, settings.database.db_schema, archive, manifest, tell)
        except BaseException:
            shutil.rmtree(new.directory, ignore_errors=True)
            kept.rename(new.directory)
            raise
        return old_major, new_major, kept


def _export(url: str, schema: str, path: Path, tell: Tell) -> Manifest:
    async def work() -> Manifest:
        connection = await _connect(url)
        try:
            return await export_database(
                connection,
                path,
                schema=schema,
                version=metadata.version("parley-server"),
                tell=lambda name: tell(f"reading {name}"),
            )
        finally:
            connection.terminate()

    return _run(work, url)


def _import(url: str, schema: str, path: Path, manifest: Manifest, tell: Tell) -> None:
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
    """Gives the URL of the database: that of the settings, or the embedded one, which is started where it must be."""
    if settings.database.url is not None:
        yield settings.database.url.reveal()
        return
    server = EmbeddedPostgres(settings.data_dir)
    if may_run and server.answers():
        yield server.url
        return
    if may_run and read_major(server.directory) is None:
        raise StartError(f"there is no PostgreSQL in {server.directory}: name the data directory by --data-dir")
    with _held(settings.data_dir) as data_dir, _running(EmbeddedPostgres(data_dir)) as started:
        yield started.url


@contextmanager
def _held(data_dir: Path) -> Iterator[Path]:
    try:
        with hold_data_directory(data_dir, lambda: None) as directory:
            yield directory.path
    except DataDirectoryError as error:
        raise StartError(str(error)) from None


@contextmanager
def _running(server: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    try:
        server.start()
    except EmbeddedError as error:
        raise StartError(str(error)) from None
    try:
        yield server
    finally:
        server.stop()
