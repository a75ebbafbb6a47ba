"""Migrations over a database of the last release, beside servers that go on writing."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest
from structlog.testing import capture_logs

from storage.errors import MigrationError, Unavailable
from storage.postgres.schema.migrate import check_schema, migrate, migration_files
from tests.support.waiting import wait_for

LAST_OF_RELEASE = "0008_store_messages_at_one_place.sql"
DELETED = "0009_growth_deleted.sql"
INDEXES = "0009_growth_indexes.sql"


@pytest.fixture
async def released(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A schema of 0.1.0 with a user who was deleted; a connection to it."""
    schema = f"old_{secrets.token_hex(4)}"
    await migrate(postgres_url, schema=schema, only=[name for name in migration_files() if name <= LAST_OF_RELEASE])
    connection = await asyncpg.connect(postgres_url, server_settings={"search_path": schema})
    try:
        await connection.execute(
            "INSERT INTO users (username, issuer, subject, delete_time)"
            " VALUES ('ann', 'parley', 'ann', NULL), ('bob', 'parley', 'bob', clock_timestamp())"
        )
        await connection.execute(
            "INSERT INTO logins (login_id, username, device_id, refresh_hash, expire_time)"
            " SELECT n::text, 'ann', 'd', '', to_timestamp(0) FROM generate_series(1, 3) n"
        )
        yield connection
    finally:
        # What a test that failed left running may hold a lock, and wait for the end of this transaction.
        await connection.execute("SET lock_timeout = '5s'")
        await connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
        await connection.close()


@contextlib.asynccontextmanager
async def open_snapshot(postgres_url: str) -> AsyncIterator[None]:
    """A transaction that looks at the database as it was, as a dump does."""
    other = await asyncpg.connect(postgres_url)
    try:
        async with other.transaction(isolation="repeatable_read"):
            await other.fetchval("SELECT count(*) FROM pg_class")
            yield
    finally:
        await other.close()


async def schema_of(connection: asyncpg.Connection) -> str:
    return str(await connection.fetchval("SELECT current_schema()"))


async def is_building(connection: asyncpg.Connection) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%CREATE INDEX CONCURRENTLY%logins_by_end%'"
            " AND state = 'active' AND pid <> pg_backend_pid()"
        )
    )


async def is_valid(connection: asyncpg.Connection, index: str) -> bool | None:
    valid: bool | None = await connection.fetchval(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", index
    )
    return valid


async def test_release_is_brought_up_to_date_and_its_deleted_users_are_noted(
    postgres_url: str, released: asyncpg.Connection
) -> None:
    ran = await migrate(postgres_url, schema=await schema_of(released))
    assert [name for name in ran if name.startswith("0009")] == ["0009_growth.sql", DELETED, INDEXES]
    assert await is_valid(released, "logins_by_end")
    assert await is_valid(released, "revocations_by_expiry")
    assert [row["username"] for row in await released.fetch("SELECT username FROM erasures")] == ["bob"]
    assert await migrate(postgres_url, schema=await schema_of(released)) == []


async def test_account_that_is_deleted_while_the_release_is_brought_up_to_date_is_noted(
    postgres_url: str, released: asyncpg.Connection
) -> None:
    """The migration waits for the deletion, which its own look at the table began too early to see."""
    schema = await schema_of(released)
    async with released.transaction():
        await released.execute("UPDATE users SET delete_time = clock_timestamp() WHERE username = 'ann'")
        migrating = asyncio.create_task(migrate(postgres_url, schema=schema))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'users'::regclass"
        await wait_for(lambda: released.fetchval(waiting), what="the migration's wait")
    assert INDEXES in await migrating
    assert await released.fetch("SELECT username FROM erasures ORDER BY 1") == [("ann",), ("bob",)]


async def test_migration_that_finds_a_table_locked_gives_up_before_others_wait_long(
    postgres_url: str, released: asyncpg.Connection
) -> None:
    schema = await schema_of(released)
    other = await asyncpg.connect(postgres_url, server_settings={"search_path": schema})
    try:
        async with released.transaction():
            await released.execute("UPDATE users SET delete_time = clock_timestamp() WHERE username = 'ann'")
            migrating = asyncio.create_task(migrate(postgres_url, schema=schema))
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'users'::regclass"
            await wait_for(lambda: released.fetchval(waiting), what="the migration's wait")
            await other.execute("UPDATE users SET display_name = 'B' WHERE username = 'bob'", timeout=5)
            with pytest.raises(Unavailable, match="waits for a table that another session has locked"):
                await migrating
        assert INDEXES in await migrate(postgres_url, schema=schema)
    finally:
        await other.close()


async def test_deletion_by_a_server_of_before_is_noted_too(postgres_url: str, released: asyncpg.Connection) -> None:
    await migrate(postgres_url, schema=await schema_of(released))
    for _ in range(2):
        await released.execute("UPDATE users SET delete_time = clock_timestamp(), display_name = ''")
    assert await released.fetch("SELECT username FROM erasures ORDER BY 1") == [("ann",), ("bob",)]


async def test_writers_do_not_wait_while_an_index_is_built(postgres_url: str, released: asyncpg.Connection) -> None:
    """The build waits for the snapshot; whoever writes to the table does not wait for the build."""
    async with open_snapshot(postgres_url):
        migrating = asyncio.create_task(migrate(postgres_url, schema=await schema_of(released)))
        await wait_for(lambda: is_building(released), what="the build")
        await released.execute("UPDATE logins SET end_time = clock_timestamp() WHERE login_id = '1'", timeout=5)
        assert await is_building(released)
        assert await released.fetchval("SELECT count(*) FROM migrations WHERE name = $1", INDEXES) == 0
    assert INDEXES in await migrating
    assert await is_valid(released, "logins_by_end")


async def test_servers_that_start_at_once_wait_for_the_one_that_builds(
    postgres_url: str, released: asyncpg.Connection
) -> None:
    """A wait inside a statement would be waited for by the build, and both would wait for ever."""
    schema = await schema_of(released)
    async with open_snapshot(postgres_url):
        first = asyncio.create_task(migrate(postgres_url, schema=schema))
        await wait_for(lambda: is_building(released), what="the build")
        with capture_logs() as logs:
            second = asyncio.create_task(migrate(postgres_url, schema=schema))
            await wait_for(
                lambda: "waiting for somebody else's migrations" in [entry["event"] for entry in logs],
                what="the second one's wait",
            )
        assert not first.done()
        assert not second.done()
    async with asyncio.timeout(20):
        assert INDEXES in await first
        assert await second == []


async def test_index_of_a_build_that_was_cut_off_is_made_anew(postgres_url: str, released: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        await released.execute(
            "CREATE UNIQUE INDEX CONCURRENTLY logins_by_end ON logins (least(expire_time, end_time))"
        )
    assert await is_valid(released, "logins_by_end") is False
    await migrate(postgres_url, schema=await schema_of(released))
    assert await is_valid(released, "logins_by_end")
    assert not await released.fetchval(
        "SELECT indisunique FROM pg_index WHERE indexrelid = to_regclass('logins_by_end')"
    )


async def test_another_version_is_told(postgres_url: str, released: asyncpg.Connection) -> None:
    with pytest.raises(MigrationError, match=r"it is older than this version \(it lacks 0009"):
        await check_schema(released)
    await migrate(postgres_url, schema=await schema_of(released))
    await check_schema(released)
    await released.execute("INSERT INTO migrations VALUES ('9999_later.sql', '')")
    with pytest.raises(MigrationError, match=r"it is newer than this version \(it has 9999_later.sql\)"):
        await check_schema(released)
    await released.execute("SET search_path = nowhere")
    with pytest.raises(MigrationError, match="run `parley migrate`"):
        await check_schema(released)
