"""Writes an export: all tables as one snapshot, while servers run."""

import os
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from storage.postgres.archive.form import FORMAT, LEFT_OUT, ArchiveError, Manifest, Table, write_manifest
from storage.postgres.schema.migrate import read_deployment

# Rows compress well, and the highest levels cost ten times as much for little more.
_COMPRESSION_LEVEL = 1

_TABLES = """
SELECT c.oid::int8 AS oid, c.relname AS name,
       array_agg(a.attname ORDER BY a.attnum) AS columns,
       ARRAY(SELECT confrelid::int8 FROM pg_constraint WHERE conrelid = c.oid AND contype = 'f') AS leads_to
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     AND a.attgenerated = ''
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND c.relkind IN ('r', 'p')
      AND NOT c.relispartition
GROUP BY c.oid, c.relname ORDER BY c.relname"""


async def export_database(
    connection: asyncpg.Connection,
    path: Path,
    *,
    schema: str,
    version: str,
    tell: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Writes the file, mode 0600; it has its name only when it is whole and on the disk.

    Args:
        connection: with nothing under way; the statements run in one REPEATABLE READ transaction.
        version: of Parley, for the manifest.
        tell: called with the name of each table before it is read.

    Returns:
        What the file says of itself.

    Raises:
        ArchiveError: the file can't be written.
        MigrationError: there is no Parley in the schema.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as raw:
                with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=_COMPRESSION_LEVEL) as file:
                    manifest = await _write(connection, file, schema, version, tell)
                raw.flush()
                os.fsync(raw.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ArchiveError(f"can't write {path}: {error.strerror}") from error
    return manifest


async def _write(
    connection: asyncpg.Connection, file: zipfile.ZipFile, schema: str, version: str, tell: Callable[[str], None]
) -> Manifest:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(f"SET LOCAL search_path = \"{schema}\"; SET LOCAL timezone = 'UTC'")
        await connection.execute("SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres'")
        deployment = await read_deployment(connection)
        migrations = await connection.fetch("SELECT name, checksum FROM migrations ORDER BY name")
        tables = []
        for name, columns in _in_order(await connection.fetch(_TABLES, schema)):
            tell(name)
            tables.append(await _write_table(connection, file, schema, name, columns))
        manifest = Manifest(
            format=FORMAT,
            version=version,
            server_version=await connection.fetchval("SHOW server_version"),
            export_time=datetime.now(UTC).isoformat(timespec="seconds"),
            deployment_id=deployment.deployment_id,
            migrations={row["name"]: row["checksum"] for row in migrations},
            tables=tuple(tables),
        )
    write_manifest(file, manifest)
    return manifest


async def _write_table(
    connection: asyncpg.Connection, file: zipfile.ZipFile, schema: str, name: str, columns: Sequence[str]
) -> Table:
    with file.open(Table(name, (), 0).member, "w", force_zip64=True) as member:

        async def write(chunk: bytes) -> None:
            member.write(chunk)

        tag = await connection.copy_from_table(
            name, schema_name=schema, columns=list(columns), output=write, timeout=None
        )
    return Table(name, tuple(columns), int(tag.split()[1]))


def _in_order(rows: Sequence[asyncpg.Record]) -> list[tuple[str, tuple[str, ...]]]:
    """Tables, each after those that its foreign keys lead to; without those that only running servers need."""
    waiting = {row["oid"]: row for row in rows if row["name"] not in LEFT_OUT}
    ordered = []
    while waiting:
        ready = [oid for oid, row in waiting.items() if not (set(row["leads_to"]) - {oid}) & set(waiting)]
        if not ready:
            raise ArchiveError(f"foreign keys lead in a circle: {', '.join(row['name'] for row in waiting.values())}")
        ordered += [waiting.pop(oid) for oid in ready]
    return [(row["name"], tuple(row["columns"])) for row in ordered]
