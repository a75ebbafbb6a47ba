"""What a database and a role must be able to do, and what the operator is told where they can't."""

import asyncio
import secrets
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import structlog
from asyncpg.types import ServerVersion

from storage.errors import Lasting, MigrationError, Unavailable
from storage.postgres.connections.capabilities import check_version
from storage.postgres.connections.database import Database
from storage.postgres.connections.primary import Primary
from storage.postgres.log.append import Appender
from storage.postgres.schema.migrate import check_schema, migrate
from storage.postgres.schema.migration_lock import take_lock
from tests.support.cluster import Node, running_cluster, running_node
from tests.support.databases import open_database
from tests.support.log import add_group, draft
from tests.support.logs import add_users
from tests.support.waiting import wait_for

ALL_ROLES = "SELECT, INSERT, UPDATE, DELETE"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A server on which these tests make roles and databases."""
    with running_node() as running:
        yield running


@pytest.fixture
def name() -> str:
    """The name of a role and of its database."""
    return f"n{secrets.token_hex(4)}"


@pytest.fixture
def url(node: Node, name: str) -> str:
    """A database whose owner is the superuser, seen by a role that may do nothing yet."""
    node.sql(f"CREATE ROLE {name} LOGIN")
    node.sql(f"CREATE DATABASE {name}")
    return f"postgresql://{name}@/{name}?host={quote(node.host)}&port=5432"


def as_owner(url: str) -> str:
    """The URL with which the superuser comes to the same database."""
    return url.replace(url[: url.index("@")], "postgresql://postgres")


async def run(url: str, *statements: str) -> None:
    """Runs statements in the database as its owner."""
    connection = await Primary(as_owner(url)).connect()
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


def test_server_that_is_too_old_is_refused():
    check_version(ServerVersion(15, 0, 0, "final", 0))
    with pytest.raises(Lasting, match=r"it is PostgreSQL 14\.9, and Parley needs 15 or newer"):
        check_version(ServerVersion(14, 9, 0, "final", 0))


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_database_that_can_not_hold_every_text_is_refused(node: Node, encoding: str):
    name = f"e{secrets.token_hex(4)}"
    node.sql(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0")
    with pytest.raises(Lasting, match=rf'"{name}" has the encoding {encoding}, and messages need UTF8'):
        await migrate(node.url.replace("@/postgres?", f"@/{name}?"))


async def test_role_without_grants_is_told_each_that_it_needs_until_it_serves(node: Node, url: str, name: str):
    with pytest.raises(MigrationError, match=rf'GRANT CREATE ON DATABASE "{name}" TO "{name}"'):
        await migrate(url)
    await run(url, "CREATE SCHEMA parley")
    with pytest.raises(Lasting, match=rf'GRANT USAGE ON SCHEMA "parley" TO "{name}"'):
        await migrate(url)
    async with open_database(url, "parley") as database, database.acquire() as connection:
        with pytest.raises(MigrationError, match='the role may not use the schema "parley"'):
            await check_schema(connection)
    await run(url, f"GRANT USAGE ON SCHEMA parley TO {name}")
    with pytest.raises(
        MigrationError, match=rf'lacks 0001_.* to 0.*GRANT USAGE, CREATE ON SCHEMA "parley" TO "{name}"'
    ):
        await migrate(url)
    assert await migrate(as_owner(url))
    with pytest.raises(Lasting, match=rf'GRANT SELECT, .* ON ALL TABLES IN SCHEMA "parley" TO "{name}";') as error:
        await migrate(url)
    assert "\n" not in str(error.value)
    await run(url, f"GRANT {ALL_ROLES} ON ALL TABLES IN SCHEMA parley TO {name}")
    assert await migrate(url) == []
    await run(url, f"REVOKE UPDATE ON parley.members FROM {name}")
    with pytest.raises(Lasting, match=rf'GRANT UPDATE ON parley.members TO "{name}";$'):
        await migrate(url)
    await run(url, f"GRANT UPDATE ON parley.members TO {name}", f"REVOKE INSERT ON parley.migrations FROM {name}")
    assert await migrate(url) == []
    async with open_database(url, "parley") as database:
        await add_users(database, "ann")
        await add_group(database, "g", "ann")
        appender = Appender(database)
        assert [answer.seq for answer in await appender.store([draft("g", "ann")])] == [1]
        appender.discard()


async def test_role_that_may_write_is_told_which_migrations_are_missing_and_who_may_run_them(url: str, name: str):
    await migrate(as_owner(url))
    await run(
        url,
        f"GRANT USAGE ON SCHEMA parley TO {name}",
        f"GRANT {ALL_ROLES} ON ALL TABLES IN SCHEMA parley TO {name}",
        "DELETE FROM parley.migrations WHERE name LIKE '0008%'",
    )
    with pytest.raises(MigrationError, match=r'lacks 0008_.*run `parley migrate` as the role "postgres"') as error:
        await migrate(url)
    assert f'GRANT CREATE ON SCHEMA "parley" TO "{name}"' in str(error.value)


async def test_schema_that_a_database_administrator_made_needs_no_grant_on_the_database(url: str, name: str):
    await run(url, f"CREATE SCHEMA parley AUTHORIZATION {name}")
    assert await migrate(url)
    assert await migrate(url) == []


async def test_server_that_does_not_tell_its_timeline_serves_without_that_guard(url: str, name: str):
    await run(url, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    await run(url, f"CREATE SCHEMA parley AUTHORIZATION {name}")
    with structlog.testing.capture_logs() as logs:
        await migrate(url)
    assert [entry["event"] for entry in logs if "timeline" in entry["event"]]
    twice = url.replace("&port=5432", "").replace("?host=", "?host=/nowhere,")
    with pytest.raises(Unavailable, match=rf'GRANT EXECUTE ON FUNCTION pg_control_system\(\) TO "{name}"'):
        await migrate(twice)


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [("synchronous_commit", "off", "synchronous_commit is off for the role"), ("synchronous_commit", "local", "")],
)
async def test_weak_commit_of_a_role_is_refused_and_never_used(
    node: Node, url: str, name: str, setting: str, value: str, told: str
):
    await run(url, f"CREATE SCHEMA parley AUTHORIZATION {name}", f"ALTER ROLE {name} SET {setting} = {value}")
    if told:
        with pytest.raises(Lasting, match=rf'{told} "{name}": ALTER ROLE "{name}" SET {setting} = on.*allow_weak'):
            await migrate(url)
    await migrate(url, allows_weak_durability=True)
    async with open_database(url, "parley") as database:
        assert await database.fetchval("SHOW synchronous_commit") == ("on" if told else value)
    database = Database(url, allows_weak_durability=True)
    await database.open()
    assert await database.fetchval("SHOW synchronous_commit") == value
    await database.close()


async def test_local_commit_is_weak_where_there_are_synchronous_standbys(node: Node, url: str, name: str):
    await run(
        url, f"CREATE SCHEMA parley AUTHORIZATION {name}", f"ALTER DATABASE {name} SET synchronous_commit = local"
    )
    node.require_standby("somebody")
    try:
        with pytest.raises(Lasting, match="synchronous_commit is local"):
            await migrate(url)
    finally:
        node.require_standby("")


async def test_server_that_does_not_sync_is_refused_unless_a_setting_says_so():
    with running_node() as unsafe:
        command = unsafe._command
        unsafe._command = lambda: [*command(), "-c", "fsync=off", "-c", "full_page_writes=off"]  # type: ignore[method-assign]
        unsafe.kill()
        await asyncio.to_thread(unsafe.start)
        with pytest.raises(Lasting, match=r"fsync is off on the server.*; full_page_writes is off.*allow_weak"):
            await migrate(unsafe.url)
        with structlog.testing.capture_logs() as logs:
            assert await migrate(unsafe.url, allows_weak_durability=True)
        assert [entry["log_level"] for entry in logs if "can be lost" in entry["event"]] == ["warning"]


LEAKS = {
    "default_transaction_isolation": ("serializable", "read committed"),
    "default_transaction_deferrable": ("on", "off"),
    "default_transaction_read_only": ("on", "off"),
    "statement_timeout": ("50", "0"),
    "lock_timeout": ("9", "250ms"),
    "idle_session_timeout": ("60", "0"),
    "idle_in_transaction_session_timeout": ("60", "0"),
    "transaction_timeout": ("60", "0"),
    "search_path": ("nowhere", "parley"),
    "timezone": ("'Asia/Tokyo'", "UTC"),
    "datestyle": ("'German'", "ISO, MDY"),
    "intervalstyle": ("iso_8601", "postgres"),
    "bytea_output": ("escape", "hex"),
    "client_min_messages": ("error", "notice"),
    "row_security": ("off", "on"),
    "client_connection_check_interval": ("1000", "0"),
    "enable_nestloop": ("off", "on"),
    "plan_cache_mode": ("force_custom_plan", "force_generic_plan"),
    "exit_on_error": ("on", "off"),
    "transform_null_equals": ("on", "off"),
}


async def test_defaults_of_a_role_change_nothing(url: str, name: str):
    await run(
        url,
        f"CREATE SCHEMA parley AUTHORIZATION {name}",
        *(f"ALTER ROLE {name} SET {setting} = {value}" for setting, (value, _) in LEAKS.items()),
        f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = 10",
    )
    await migrate(url)
    async with open_database(url, "parley") as database:
        found = {setting: str(await database.fetchval(f"SHOW {setting}")).strip('"') for setting in LEAKS}
        assert found == {setting: value for setting, (_, value) in LEAKS.items()}
        await add_users(database, "ann", "bob")
        await add_group(database, "g", "ann", "bob")
        appenders = [Appender(database) for _ in range(4)]
        stored = await asyncio.gather(
            *(appender.store([draft("g", "ann", str(n))]) for n, appender in enumerate(appenders))
        )
        assert sorted(answer.seq for answers in stored for answer in answers) == [1, 2, 3, 4]
        for appender in appenders:
            appender.discard()


async def test_default_that_only_a_superuser_may_take_back_is_named(node: Node, url: str, name: str):
    await run(url, f"ALTER ROLE {name} SET session_replication_role = replica")
    with pytest.raises(Lasting, match='permission denied to set parameter "session_replication_role"'):
        await migrate(url)
    assert await migrate(as_owner(url))


async def test_database_that_is_set_to_read_only_is_left_alone(url: str, name: str):
    """Whoever switches over to another server may have done so."""
    await run(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(Lasting, match=r"read-only: default_transaction_read_only is on \(set by the database\)"):
        await migrate(url)


async def test_settings_of_options_hold_but_do_not_override_what_is_relied_on(node: Node):
    options = quote("-c work_mem=7MB -c statement_timeout=5 -c lock_timeout=5")
    connection = await Primary(f"{node.url}&options={options}&application_name=mine").connect()
    shown = [
        await connection.fetchval(f"SHOW {name}") for name in ("work_mem", "statement_timeout", "application_name")
    ]
    assert shown == ["7MB", "0", "mine"]
    connection.terminate()
    with pytest.raises(Lasting, match='unrecognized configuration parameter "wrok_mem"'):
        await Primary(f"{node.url}&options=-c%20wrok_mem%3D1").connect()


async def test_role_or_database_that_is_not_there_is_no_reason_to_wait(url: str, name: str):
    with pytest.raises(Lasting, match=r'the server refuses the role: role "nobody" does not exist'):
        await migrate(url.replace(f"//{name}@", "//nobody@"))
    with pytest.raises(Lasting, match=r'there is no database "nowhere"$'):
        await migrate(url.replace(f"@/{name}?", "@/nowhere?"))
    await run(url, "CREATE ROLE homeless LOGIN")
    with pytest.raises(Lasting, match=r'no database "homeless", which is the role\'s name, since the URL names no'):
        await migrate(url.replace(f"//{name}@/{name}?", "//homeless@/?"))
    await run(url, f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC')
    with pytest.raises(Lasting, match=rf'permission denied for database "{name}"'):
        await migrate(url)


async def test_standby_alone_is_no_reason_to_wait_and_beside_a_lost_primary_it_is():
    with running_cluster() as cluster:
        with pytest.raises(Lasting, match="it is a standby"):
            await migrate(cluster.standby.url)
        await asyncio.to_thread(cluster.primary.kill)
        with pytest.raises(Unavailable, match=r"no primary: .*it is a standby") as error:
            await migrate(cluster.url)
        assert not isinstance(error.value, Lasting)


async def test_who_holds_the_lock_of_the_migrations_is_said_and_the_wait_ends_with_the_lock(url: str, name: str):
    await run(url, f"CREATE SCHEMA parley AUTHORIZATION {name}")
    holder = await Primary(f"{as_owner(url)}&application_name=of-another-version").connect()
    await holder.execute("SELECT pg_advisory_lock($1)", 0x9A71E7)
    with structlog.testing.capture_logs() as logs:
        migrating = asyncio.create_task(migrate(url))
        await wait_for(lambda: any("waiting for" in entry["event"] for entry in logs), what="word of the wait")
        await holder.close()
        assert await migrating
    (told,) = [entry["holder"] for entry in logs if "waiting for" in entry["event"]]
    assert f'pid {holder.get_server_pid()}, application "of-another-version", role "postgres"' in told


async def test_lock_that_is_held_for_too_long_ends_the_start_with_its_holder(url: str, name: str):
    holder = await Primary(as_owner(url)).connect()
    await holder.execute("SELECT pg_advisory_lock($1)", 0x9A71E7)
    waiter = await Primary(url).connect()
    with pytest.raises(MigrationError, match=r"held the lock .* pid \d+, application \"parley\""):
        async with waiter.transaction():
            await take_lock(waiter, wait_seconds=0)
    await holder.close()
    async with waiter.transaction():
        await take_lock(waiter, wait_seconds=0)
    await waiter.close()


async def test_many_servers_at_once_run_each_migration_once(url: str, name: str):
    await run(url, f"CREATE SCHEMA parley AUTHORIZATION {name}")
    ran = await asyncio.gather(*(migrate(url) for _ in range(4)))
    together = sorted(one for each in ran for one in each)
    assert len(together) == len(set(together))
    assert await migrate(url) == []
