"""Brings the schema up to date: runs the files of `migrations/` in order, each once, each in one transaction.

Several servers may start at once: an advisory lock lets one at a time look and run. A file that was run and then
changed is an error, since nobody could tell what the schema is.
"""

import hashlib
import re
import secrets
from collections.abc import Collection
from importlib import resources

import asyncpg

from storage import errors
from storage.postgres.connection import translated
from storage.postgres.identity import read_cluster
from storage.postgres.primary import Primary
from storage.records import Deployment

_LOCK = 0x9A71E7  # any number, the same in every version
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class MigrationError(errors.StorageError):
    """The schema can't be brought up to date; the text says why."""


async def migrate(
    url: str, *, schema: str = "parley", timeout_seconds: float = 60.0, only: Collection[str] | None = None
) -> list[str]:
    """Runs the migrations that are missing; returns their names.

    Makes the schema and the deployment row, where they are missing.

    Args:
        only: run no others than these; None: all.

    Raises:
        MigrationError: a file that was run has changed, or the database has files that this version does not know.
        Unavailable: PostgreSQL can't be reached.
    """
    if not _SCHEMA_NAME.fullmatch(schema):
        raise MigrationError(f'"{schema}" is not a schema name: use small letters, digits and "_", 63 at most')
    with translated():
        connection = await Primary(url).connect(command_timeout=timeout_seconds)
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
            await connection.execute(f'SET search_path = "{schema}"')
            return await _run_missing(connection, only)
        finally:
            await connection.close()


async def _run_missing(connection: asyncpg.Connection, only: Collection[str] | None) -> list[str]:
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations ("
        "name text PRIMARY KEY, checksum text NOT NULL, run_time timestamptz NOT NULL DEFAULT clock_timestamp())"
    )
    done = {row["name"]: row["checksum"] for row in await connection.fetch("SELECT name, checksum FROM migrations")}
    files = migration_files()
    if unknown := sorted(set(done) - set(files)):
        raise MigrationError(f"the database is newer than this version: it has {', '.join(unknown)}")
    ran = []
    checksums = migration_checksums()
    for name, sql in files.items():
        checksum = checksums[name]
        if only is not None and name not in only:
            continue
        if name in done:
            if done[name] != checksum:
                raise MigrationError(f"{name} was changed after it was run; add a new file instead")
            continue
        async with connection.transaction():
            await connection.execute(sql)
            await connection.execute("INSERT INTO migrations (name, checksum) VALUES ($1, $2)", name, checksum)
        ran.append(name)
    await connection.execute(
        "INSERT INTO deployment (deployment_id, hash_key) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        secrets.token_hex(4),
        secrets.token_bytes(32),
    )
    return ran


def migration_files() -> dict[str, str]:
    """Returns the SQL of each file by its name, in order."""
    folder = resources.files("storage.postgres") / "migrations"
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return {entry.name: entry.read_text(encoding="utf-8") for entry in found}


async def check_schema(connection: asyncpg.Connection) -> None:
    """Passes a schema that this version made or brought up to date; the caller's search path is Parley's schema.

    Raises:
        MigrationError: the schema is missing, older or newer.
    """
    try:
        done = {row["name"] for row in await connection.fetch("SELECT name FROM migrations")}
    except asyncpg.UndefinedTableError:
        raise MigrationError("the schema is not there; run `parley migrate`") from None
    files = set(migration_files())
    if unknown := sorted(done - files):
        raise MigrationError(f"it is newer than this version (it has {unknown[-1]}): use a newer `parley`")
    if missing := sorted(files - done):
        raise MigrationError(
            f"it is older than this version (it lacks {missing[0]}): start the new server, or run `parley migrate`"
        )


def migration_checksums() -> dict[str, str]:
    """Returns the checksum of each file by its name, in order."""
    return {name: hashlib.sha256(sql.encode()).hexdigest() for name, sql in migration_files().items()}


async def read_deployment(connection: asyncpg.Connection) -> Deployment:
    """Reads who this deployment is; the caller's search path is Parley's schema.

    Raises:
        MigrationError: the schema is not there; `parley migrate` makes it.
    """
    try:
        row = await connection.fetchrow("SELECT deployment_id, epoch, hash_key FROM deployment")
    except asyncpg.UndefinedTableError as error:
        raise MigrationError("the schema is not there; run `parley migrate`") from error
    if row is None:
        raise MigrationError("the deployment row is not there; run `parley migrate`")
    return Deployment(row["deployment_id"], row["epoch"], await read_cluster(connection), row["hash_key"])
