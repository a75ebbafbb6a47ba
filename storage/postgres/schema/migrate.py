"""Brings the schema up to date: runs the files of `migrations/` in order, each once, each in one transaction.

Files that build indexes of large tables run outside one, so that others can write meanwhile (`concurrent_indexes.py`).

Several servers may start at once: a lock lets one at a time run (`migration_lock.py`). A file that was run and then
changed is an error, since nobody could tell what the schema is.
"""

import hashlib
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from importlib import resources

import asyncpg

from storage import errors
from storage.postgres.connections.capabilities import Rights, check_grants, check_server, read_rights
from storage.postgres.connections.connection import Connection, translated
from storage.postgres.connections.pooling import check_pooling
from storage.postgres.connections.primary import Primary
from storage.postgres.schema.concurrent_indexes import (
    Connect,
    build_indexes,
    for_empty_tables,
    release_snapshot,
    runs_outside,
)
from storage.postgres.schema.identity import read_cluster
from storage.postgres.schema.migration_lock import take_lock
from storage.records import Deployment

# A migration that waits for a table keeps those out who come after it; so it gives up soon, and the caller tries again.
# A little longer than deadlock_timeout usually is, after which an autovacuum that is in the way is cancelled.
_LOCK_TIMEOUT_MS = 1100
# An index over a hundred million rows takes that long.
_MIGRATION_SECONDS = 3600.0
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


async def migrate(
    url: str,
    *,
    schema: str = "parley",
    timeout_seconds: float = 60.0,
    only: Collection[str] | None = None,
    allows_weak_durability: bool = False,
) -> list[str]:
    """Looks whether the database will do, and runs the migrations that are missing; returns their names.

    Makes the schema and the deployment row, where they are missing. A role that may make nothing will do where nothing
    is missing.

    Args:
        timeout_seconds: the limit of each statement but those of the migrations.
        only: run no others than these; None: all.
        allows_weak_durability: takes a server that can lose what it said is committed.

    Raises:
        MigrationError: a file that was run has changed, the database has files that this version does not know, the
            role may not run those that are missing, or somebody else does so for too long.
        Lasting: the server, the database or the role won't do.
        Unavailable: PostgreSQL can't be reached.
        UrlError: the URL can't be used.
    """
    if not _SCHEMA_NAME.fullmatch(schema):
        raise errors.MigrationError(f'"{schema}" is not a schema name: use small letters, digits and "_", 63 at most')
    primary = Primary(
        url, schema=schema, lock_timeout_ms=_LOCK_TIMEOUT_MS, allows_weak_durability=allows_weak_durability
    )

    async def connect() -> Connection:
        return await primary.connect(command_timeout=timeout_seconds)

    with translated():
        connection = await connect()
        try:
            await check_pooling(connection, connect)
            await check_server(connection, allows_weak_durability=allows_weak_durability)
            rights = await read_rights(connection, schema)
            ran = await _run_missing(connection, connect, schema, rights, only)
            await check_grants(connection, schema, rights.role)
        finally:
            await connection.close()
    return ran


async def _run_missing(
    connection: Connection, connect: Connect, schema: str, rights: Rights, only: Collection[str] | None
) -> list[str]:
    files = {name: sql for name, sql in migration_files().items() if only is None or name in only}
    if rights.has_schema and not rights.may_use:
        raise errors.Lasting(f'GRANT USAGE ON SCHEMA "{schema}" TO "{rights.role}" is missing')
    missing = [*files]
    if rights.owner is not None:
        missing = await _find_missing(connection, schema, rights, files)
        if not missing and await connection.fetchval("SELECT EXISTS (SELECT FROM deployment)"):
            return []
    ran = []
    checksums = migration_checksums()
    try:
        async with connection.transaction():
            await take_lock(connection)
            await _make_ground(connection, schema)
        for name in missing:
            async with connection.transaction():
                await take_lock(connection)
                if await connection.fetchval("SELECT EXISTS (SELECT FROM migrations WHERE name = $1)", name):
                    continue
                if runs_outside(files[name]) and rights.owner is not None:
                    await release_snapshot(connection)  # else the build would wait for this transaction
                    await build_indexes(connect, files[name])
                else:
                    await connection.execute(for_empty_tables(files[name]), timeout=_MIGRATION_SECONDS)
                await connection.execute(
                    "INSERT INTO migrations (name, checksum) VALUES ($1, $2)", name, checksums[name]
                )
            ran.append(name)
        await connection.execute(
            "INSERT INTO deployment (deployment_id, hash_key) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            secrets.token_hex(4),
            secrets.token_bytes(32),
        )
    except asyncpg.InsufficientPrivilegeError as error:
        raise errors.MigrationError(
            _tell_grant(schema, rights, [name for name in missing if name not in ran], error)
        ) from None
    except asyncpg.LockNotAvailableError:
        raise errors.Unavailable("a migration waits for a table that another session has locked") from None
    return ran


async def _find_missing(connection: Connection, schema: str, rights: Rights, files: Mapping[str, str]) -> list[str]:
    try:
        rows = await connection.fetch("SELECT name, checksum FROM migrations")
    except asyncpg.InsufficientPrivilegeError:
        await check_grants(connection, schema, rights.role)
        raise
    done = {row["name"]: row["checksum"] for row in rows}
    checksums = migration_checksums()
    if unknown := sorted(set(done) - set(checksums)):
        raise errors.MigrationError(f"the database is newer than this version: it has {', '.join(unknown)}")
    for name in files:
        if name in done and done[name] != checksums[name]:
            raise errors.MigrationError(f"{name} was changed after it was run; add a new file instead")
    return [name for name in files if name not in done]


async def _make_ground(connection: Connection, schema: str) -> None:
    """Makes the schema and the list of migrations, where they are missing: what is there may be another role's."""
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema):
        await connection.execute(f'CREATE SCHEMA "{schema}"')
    if await connection.fetchval("SELECT to_regclass($1)", f"{schema}.migrations") is None:
        await connection.execute(
            "CREATE TABLE migrations (name text PRIMARY KEY, checksum text NOT NULL,"
            " run_time timestamptz NOT NULL DEFAULT clock_timestamp())"
        )


def _tell_grant(schema: str, rights: Rights, missing: Sequence[str], error: Exception) -> str:
    """Says what the role would have to be granted, and what for."""
    role = f'"{rights.role}"'
    what = f"{missing[0]} to {missing[-1]}" if len(missing) > 1 else "".join(missing) or "the deployment row"
    if not rights.has_schema:
        grant = (
            f'GRANT CREATE ON DATABASE "{rights.database}" TO {role}, or CREATE SCHEMA "{schema}" AUTHORIZATION {role}'
        )
    elif rights.owner is None:
        grant = f'GRANT USAGE, CREATE ON SCHEMA "{schema}" TO {role}'
    else:
        grant = f'run `parley migrate` as the role "{rights.owner}", which owns it, or GRANT "{rights.owner}" TO {role}'
        if not rights.may_create:
            grant += f' and GRANT CREATE ON SCHEMA "{schema}" TO {role}'
    return f'the schema "{schema}" lacks {what}, and the role {role} may not make that ({error}): {grant}'


def migration_files() -> dict[str, str]:
    """Returns the SQL of each file by its name, in order."""
    folder = resources.files("storage.postgres.schema") / "migrations"
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
        raise await _to_absence(connection) from None
    except asyncpg.InsufficientPrivilegeError as error:
        raise errors.MigrationError(f"{error}; `parley migrate` says what to grant") from None
    files = set(migration_files())
    if unknown := sorted(done - files):
        raise errors.MigrationError(f"it is newer than this version (it has {unknown[-1]}): use a newer `parley`")
    if missing := sorted(files - done):
        raise errors.MigrationError(
            f"it is older than this version (it lacks {missing[0]}): start the new server, or run `parley migrate`"
        )


async def _to_absence(connection: asyncpg.Connection) -> errors.MigrationError:
    """Distinguishes a schema that does not exist from one that the role does not see."""
    hidden = await connection.fetchval(
        """SELECT nspname FROM pg_namespace WHERE nspname = btrim(current_setting('search_path'), '"')
           AND NOT has_schema_privilege(oid, 'USAGE')"""
    )
    if hidden is None:
        return errors.MigrationError("the schema is not there; run `parley migrate`")
    return errors.MigrationError(f'the role may not use the schema "{hidden}"; `parley migrate` says what to grant')


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
        raise errors.MigrationError("the schema is not there; run `parley migrate`") from error
    if row is None:
        raise errors.MigrationError("the deployment row is not there; run `parley migrate`")
    return Deployment(row["deployment_id"], row["epoch"], await read_cluster(connection), row["hash_key"])
