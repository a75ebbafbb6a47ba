"""What PostgreSQL and the role must be able to do, looked at before anything is served; each lack is one line."""

from collections.abc import Iterator
from dataclasses import dataclass

import asyncpg
import structlog
from asyncpg.types import ServerVersion

from storage.errors import Lasting
from storage.postgres.connections.session import IS_WEAK_COMMIT

_log = structlog.get_logger(__name__)

LOWEST_VERSION = 15
# What a session would have without Parley's own setting of it.
_LOOK = f"""
SELECT current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes, current_user AS role, current_database() AS database,
       (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit') AS usual_commit,
       {IS_WEAK_COMMIT.replace("current_setting('synchronous_commit')", "s.reset_val")} AS is_weak_commit
FROM pg_settings s WHERE s.name = 'synchronous_commit'"""

# These change by `parley restored` and migrations alone.
_READ_ONLY_TABLES = ("migrations", "deployment", "epochs", "restores")
_MISSING = """
SELECT 'TABLE' AS kind, format('%I.%I', n.nspname, c.relname) AS name, p.privilege
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
     unnest($3::text[]) AS p(privilege)
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT has_table_privilege(c.oid, p.privilege)
  AND (p.privilege = 'SELECT' OR c.relname <> ALL ($2))
UNION ALL
SELECT 'FUNCTION', format('%I.%I(%s)', n.nspname, f.proname, pg_get_function_identity_arguments(f.oid)), 'EXECUTE'
FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
WHERE n.nspname = $1 AND NOT has_function_privilege(f.oid, 'EXECUTE')
ORDER BY 1 DESC, 2"""
_ORDER = ("SELECT", "INSERT", "UPDATE", "DELETE", "EXECUTE")
_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Rights:
    """What the role may do with the schema.

    Attributes:
        has_schema: whether the schema is there.
        owner: who owns what is in it; None where it is empty or not there.
    """

    role: str
    database: str
    has_schema: bool
    may_use: bool
    may_create: bool
    owner: str | None


def check_version(version: ServerVersion) -> None:
    """Passes a server that is new enough, by what it said at the start of the connection.

    Raises:
        Lasting: it is too old.
    """
    if version.major < LOWEST_VERSION:
        raise Lasting(f"it is PostgreSQL {version.major}.{version.minor}, and Parley needs {LOWEST_VERSION} or newer")


async def check_server(connection: asyncpg.Connection, *, allows_weak_durability: bool) -> None:
    """Passes a server that can hold what Parley is given, and keeps what it said is committed; one statement.

    Raises:
        Lasting: it is not so.
    """
    row = await connection.fetchrow(_LOOK)
    assert row is not None
    if row["encoding"] != "UTF8":
        raise Lasting(
            f'the database "{row["database"]}" has the encoding {row["encoding"]}, and messages need UTF8: make another'
            f" one with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )
    weak = list(_weaknesses(row))
    if not weak:
        return
    if not allows_weak_durability:
        raise Lasting(
            f"{'; '.join(weak)}. Messages that were acknowledged could be lost; if that is meant, set"
            " database.allow_weak_durability"
        )
    _log.warning("messages that were acknowledged can be lost: database.allow_weak_durability is set", why=weak)


def _weaknesses(row: asyncpg.Record) -> Iterator[str]:
    for name in ("fsync", "full_page_writes"):
        if row[name] != "on":
            yield f"{name} is {row[name]} on the server: set {name} = on in postgresql.conf"
    if row["is_weak_commit"]:
        yield (
            f'synchronous_commit is {row["usual_commit"]} for the role "{row["role"]}":'
            f' ALTER ROLE "{row["role"]}" SET synchronous_commit = on'
        )


async def read_rights(connection: asyncpg.Connection, schema: str) -> Rights:
    """Reads what the role may do with the schema; one statement."""
    row = await connection.fetchrow(
        """SELECT current_user AS role, current_database() AS database, n.oid IS NOT NULL AS has_schema,
                  coalesce(has_schema_privilege(n.oid, 'USAGE'), false) AS may_use,
                  coalesce(has_schema_privilege(n.oid, 'CREATE'), false) AS may_create,
                  (SELECT pg_get_userbyid(c.relowner) FROM pg_class c
                   WHERE c.relnamespace = n.oid AND c.relname = 'migrations') AS owner
           FROM (SELECT 1) AS one LEFT JOIN pg_namespace n ON n.nspname = $1""",
        schema,
    )
    assert row is not None
    return Rights(**dict(row))


async def check_grants(connection: asyncpg.Connection, schema: str, role: str) -> None:
    """Passes a role that may read and write what is in the schema; one statement.

    Raises:
        Lasting: it may not; the text is what to grant.
    """
    missing: dict[tuple[str, str], list[str]] = {}
    for row in await connection.fetch(_MISSING, schema, list(_READ_ONLY_TABLES), list(_ORDER[:4])):
        missing.setdefault((row["kind"], row["name"]), []).append(row["privilege"])
    if not missing:
        return
    grants: dict[tuple[str, str], list[str]] = {}
    for (kind, name), privileges in missing.items():
        grants.setdefault((kind, ", ".join(sorted(privileges, key=_ORDER.index))), []).append(name)
    told = [_grant(kind, privileges, names, schema, role) for (kind, privileges), names in grants.items()]
    raise Lasting(f'the role "{role}" lacks grants on the schema "{schema}": {" ".join(told)}')


def _grant(kind: str, privileges: str, names: list[str], schema: str, role: str) -> str:
    if kind == "TABLE" and len(names) <= _SHOWN:
        return f'GRANT {privileges} ON {", ".join(names)} TO "{role}";'
    return f'GRANT {privileges} ON ALL {kind}S IN SCHEMA "{schema}" TO "{role}";'
