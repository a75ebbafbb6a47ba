"""Opens the database that an operator's command works on, and turns what fails into one line."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg

from service.domain.checks import to_username, to_usernames
from service.domain.errors import InvalidRequest
from service.settings.load import load
from service.settings.start_error import StartError
from service.settings.tree import Secret, Settings
from storage.embedded import EmbeddedPostgres
from storage.errors import MigrationError, StorageError
from storage.postgres.connections.database import Database
from storage.postgres.schema.migrate import check_schema
from storage.urls import mask_url

_MAX_NAMES = 100_000
# A batch of an export, or a list of many names, takes longer than what a server asks.
_STATEMENT_SECONDS = 60.0


def open_settings(flags: Mapping[str, object], config_file: Path | None) -> Settings:
    """Returns the settings with a database URL: the configured one, or that of the running embedded PostgreSQL.

    Raises:
        ConfigError: the settings are wrong.
        StartError: there is no database that runs.
    """
    settings = load(flags, config_file=config_file).settings
    if settings.database.url is not None:
        return settings
    server = EmbeddedPostgres(settings.data_dir)
    if not server.answers():
        raise StartError(
            f"no server runs on the data directory {server.data_dir}: start it (`parley serve`), or name another one"
            " with --data-dir, or another database in PARLEY_DATABASE_URL"
        )
    return replace(settings, database=replace(settings.database, url=Secret(server.url)))


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """Opens a small pool on the database of the settings, whose schema has to be this version's.

    Raises:
        StartError: the database can't be reached, is of another version, or failed inside the block.
    """
    assert settings.database.url is not None
    url = settings.database.url.reveal()
    try:
        database = Database(
            url,
            schema=settings.database.db_schema,
            pool_size=2,
            command_timeout_seconds=_STATEMENT_SECONDS,
            allows_weak_durability=settings.database.allow_weak_durability,
        )
        await database.open()
        try:
            async with database.acquire() as connection:
                await check_schema(connection)
            yield database
        finally:
            await database.close()
    except MigrationError as error:
        raise StartError(f"the database at {mask_url(url)}: {error}") from None
    except (StorageError, asyncpg.PostgresError, asyncpg.ClientConfigurationError, ValueError) as error:
        raise StartError(f"the database at {mask_url(url)} failed: {' '.join(str(error).split())}") from None


def to_names(names: Sequence[str]) -> list[str]:
    """Returns user names as they are kept, each once, sorted.

    Raises:
        StartError: one of them is not legal, or there is none, or there are more than 100,000.
    """
    for name in names:
        try:
            to_username(name)
        except InvalidRequest as error:
            raise StartError(f"{_shown(name)} is no user name: {str(error).partition(': ')[2]}") from None
    try:
        return to_usernames(list(names), "names", max_count=_MAX_NAMES, min_count=1)
    except InvalidRequest as error:
        raise StartError(str(error)) from None


def to_name(name: str) -> str:
    """Returns a user name as it is kept.

    Raises:
        StartError: it is not a legal one.
    """
    return to_names([name])[0]


def _shown(name: str) -> str:
    """Returns a name that may be anything, for one line."""
    text = repr(name)
    return text if len(text) <= 60 else text[:57] + "..."
