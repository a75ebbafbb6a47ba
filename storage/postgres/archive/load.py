"""Reads an export into an empty schema, in one transaction: all of it is there afterwards, or nothing."""

import zipfile
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg

from storage.postgres.archive.form import ArchiveError, Manifest, Table, open_archive, read_chunks, read_manifest
from storage.postgres.schema.migrate import migration_checksums

_IDENTITIES = """
SELECT c.relname AS name, a.attname AS column FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND a.attidentity <> ''"""


def check_archive(path: Path) -> Manifest:
    """Returns what a file says of itself, and reads it once from end to end.

    Raises:
        ArchiveError: it is damaged or no whole export, or of a version that this one does not know.
    """
    known = migration_checksums()
    with open_archive(path) as file:
        manifest = read_manifest(file)
        try:
            damaged = file.testzip()
        except (zipfile.BadZipFile, zlib.error) as error:
            damaged = str(error)
        if damaged:
            raise ArchiveError(f"{path} is damaged: {damaged}")
    if unknown := [name for name, checksum in manifest.migrations.items() if known.get(name) != checksum]:
        raise ArchiveError(
            f"{path} was exported by Parley {manifest.version}, which is newer than this one: it has {unknown[0]}"
        )
    return manifest


async def is_empty(connection: asyncpg.Connection, schema: str) -> bool:
    """Whether nobody ever used the deployment in a schema: no account, no conversation, no epoch but the first."""
    return bool(
        await connection.fetchval(
            f'SELECT NOT EXISTS (SELECT FROM "{schema}".users) AND NOT EXISTS (SELECT FROM "{schema}".conversations)'
            f' AND (SELECT epoch = 1 FROM "{schema}".deployment)'
        )
    )


async def count_accounts(connection: asyncpg.Connection, schema: str) -> int:
    """How many accounts there are, deleted ones included."""
    return int(await connection.fetchval(f'SELECT count(*) FROM "{schema}".users'))


async def load_archive(
    connection: asyncpg.Connection, path: Path, *, schema: str, tell: Callable[[str], None] = lambda _: None
) -> Manifest:
    """Fills a schema that the migrations of the file have made, and that nobody used.

    Args:
        connection: with nothing under way.
        tell: called with the name of each table before it is filled.

    Raises:
        ArchiveError: the schema is in use, or newer than the file; nothing was changed.
    """
    with open_archive(path) as file:
        manifest = read_manifest(file)
        run = {row["name"] for row in await connection.fetch(f'SELECT name FROM "{schema}".migrations')}
        if more := sorted(run - set(manifest.migrations)):
            raise ArchiveError(
                f"the schema there is newer than the export, which lacks {more[0]}: import into a database that Parley"
                " has not prepared yet"
            )
        async with connection.transaction():
            await connection.execute(f"SET LOCAL search_path = \"{schema}\"; SET LOCAL timezone = 'UTC'")
            await connection.execute("SET LOCAL statement_timeout = 0; LOCK TABLE deployment")
            if not await is_empty(connection, schema):
                raise ArchiveError(
                    "the deployment there is in use: an export is loaded into an empty one (another database, or"
                    " another database.schema)"
                )
            await connection.execute("TRUNCATE " + ", ".join(f'"{table.name}"' for table in manifest.tables))
            for table in manifest.tables:
                tell(table.name)
                await _fill(connection, file, schema, table)
            for row in await connection.fetch(_IDENTITIES, schema):
                await _continue_identity(connection, row["name"], row["column"])
    await analyze(connection, schema)
    return manifest


async def analyze(connection: asyncpg.Connection, schema: str) -> None:
    """Counts what is in the tables, so that no plan is made for what they were before; autovacuum comes later."""
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
    for table in tables:
        await connection.execute(f'ANALYZE "{schema}"."{table["tablename"]}"')


async def _fill(connection: asyncpg.Connection, file: zipfile.ZipFile, schema: str, table: Table) -> None:
    with file.open(table.member) as member:

        async def chunks() -> AsyncIterator[bytes]:
            for chunk in read_chunks(member):
                yield chunk

        tag = await connection.copy_to_table(
            table.name, schema_name=schema, columns=list(table.columns), source=chunks(), timeout=None
        )
    if int(tag.split()[1]) != table.row_count:
        raise ArchiveError(f"{table.name} has {tag.split()[1]} rows in the file, and {table.row_count} by its manifest")


async def _continue_identity(connection: asyncpg.Connection, table: str, column: str) -> None:
    """Has the numbers that the database gives go on after the highest one that is there."""
    await connection.execute(
        f"SELECT setval(pg_get_serial_sequence('\"{table}\"', '{column}'), greatest(max(\"{column}\"), 1),"
        f' max("{column}") IS NOT NULL) FROM "{table}"'
    )
