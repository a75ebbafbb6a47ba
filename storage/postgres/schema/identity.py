"""Distinguishes copies of a database, which have the same deployment id and, at first, the same epoch."""

import hashlib

import asyncpg


async def read_cluster(connection: asyncpg.Connection) -> str:
    """Reads the name of this database among its copies: 8 hexadecimal digits; two statements.

    It stays over restarts and failovers to a standby. A restore from a dump and `pg_upgrade` give another one; a copy
    of all files keeps it. Where the role may not read the system identifier, databases in several clusters can have the
    same one.
    """
    may_read = await connection.fetchval("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')")
    system = await connection.fetchval("SELECT system_identifier FROM pg_control_system()") if may_read else 0
    place = await connection.fetchval(
        """SELECT (SELECT oid FROM pg_database WHERE datname = current_database())::text
                  || '/' || 'deployment'::regclass::oid::text"""
    )
    return hashlib.blake2b(f"{system}/{place}".encode(), digest_size=4).hexdigest()
