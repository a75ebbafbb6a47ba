"""A server of the test's own that is restarted, stopped, filled up: what connections do then."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from storage.errors import BadData, OutcomeUnknown, Unavailable
from storage.postgres.connections.database import Connection, Database
from storage.postgres.log.append import Appender
from storage.postgres.schema.migrate import migrate
from storage.records import Outcome
from tests.support.cluster import Node, running_node
from tests.support.databases import watched_database
from tests.support.log import add_group, draft, log_of
from tests.support.logs import add_users
from tests.support.waiting import wait_for

_WAITING_FOR_STANDBY = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A server that the tests of this module hurt; each leaves it running."""
    with running_node(max_connections="20", superuser_reserved_connections="0") as running:
        asyncio.run(migrate(running.url))
        yield running


@pytest.fixture
async def db(node: Node) -> AsyncIterator[Database]:
    """ann is in the group g, which is empty."""
    async with watched_database(node.url) as database:
        await database.execute("TRUNCATE users, conversations, members, messages, commit_feed CASCADE")
        await add_users(database, "ann")
        await add_group(database, "g", "ann")
        yield database


@contextlib.asynccontextmanager
async def missing_standby(node: Node, database: Database) -> AsyncIterator[None]:
    """Commits wait for a standby that is not there."""
    node.require_standby("nobody")
    try:
        yield
    finally:
        node.require_standby("")
        await wait_for(lambda: node.sql(_WAITING_FOR_STANDBY) == "0", what="the end of the waits")


async def in_transaction(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("UPDATE conversations SET title = 'changed'")


async def in_statement(database: Database) -> None:
    await database.execute("UPDATE conversations SET title = 'changed'")


@pytest.mark.parametrize("write", [in_transaction, in_statement])
@pytest.mark.parametrize("is_given_up", [False, True], ids=["time limit", "caller gone"])
async def test_commit_that_waits_for_a_standby_is_never_cancelled(
    node: Node, db: Database, write: Callable[[Database], Awaitable[None]], is_given_up: bool
):
    """A cancelled one would be visible at once, and lost with the primary after its repeat was acknowledged."""
    async with missing_standby(node, db), watched_database(node.url, command_timeout_seconds=0.5) as hurried:
        writing = asyncio.ensure_future(write(hurried))
        await wait_for(lambda: node.sql(_WAITING_FOR_STANDBY) == "1", what="the wait")
        if is_given_up:
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
        else:
            with pytest.raises(Unavailable):
                await writing
        assert await hurried.fetchval("SELECT title FROM conversations") == ""
        assert node.sql(_WAITING_FOR_STANDBY) == "1"
    assert await db.fetchval("SELECT title FROM conversations") == "changed"


async def test_wait_that_an_operator_cancels_is_not_taken_for_a_commit(node: Node, db: Database):
    appender = Appender(db)
    await appender.store([draft("g", "ann", "before")])
    one = draft("g", "ann", "one")
    async with missing_standby(node, db):
        storing = asyncio.create_task(appender.store([one]))
        await wait_for(lambda: node.sql(_WAITING_FOR_STANDBY) == "1", what="the wait")
        node.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        with pytest.raises(OutcomeUnknown):
            await storing
    (answer,) = await appender.store([one])
    assert (answer.outcome, answer.seq) == (Outcome.DUPLICATE, 2)
    appender.discard()


async def test_nothing_more_is_written_while_a_write_waits_for_its_standby(node: Node, db: Database):
    """Each attempt that ran into its time limit would leave one more backend, until none is left for reading."""
    one = draft("g", "ann", "one")
    async with watched_database(node.url, command_timeout_seconds=1.2) as hurried:
        appender = Appender(hurried)
        async with missing_standby(node, hurried):
            with pytest.raises(OutcomeUnknown):
                await appender.store([one])
            for _ in range(3):
                with pytest.raises(Unavailable, match="an earlier write still waits for the standby"):
                    await appender.store([one])
            assert node.sql(_WAITING_FOR_STANDBY) == "1"
        (answer,) = await appender.store([one])
        assert (answer.outcome, answer.seq) == (Outcome.DUPLICATE, 1)
        appender.discard()


async def test_nothing_is_left_open_by_a_transaction_that_failed(db: Database):
    async def fail() -> None:
        async with db.transaction() as connection:
            await connection.execute("UPDATE conversations SET title = 'never'")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await db.fetchval("SELECT title FROM conversations") == ""
    assert await db.fetchval("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'") == 0


async def test_restart_is_noticed_and_ended_by_the_probe(node: Node, db: Database):
    appender = Appender(db)
    await appender.store([draft("g", "ann", "before")])
    await asyncio.to_thread(node.kill)
    with pytest.raises(Unavailable):
        await db.fetchval("SELECT 1")
    await wait_for(lambda: db.outage.is_away, what="the absence")
    with pytest.raises(Unavailable, match="away"):  # at once, without an attempt of its own
        await db.fetchval("SELECT 1")
    paused = asyncio.create_task(db.outage.pause(3600))
    await asyncio.to_thread(node.start)
    await paused  # ended by the database's return
    assert await db.fetchval("SELECT 1") == 1
    assert [answer.seq for answer in await appender.store([draft("g", "ann", "after")])] == [2]
    appender.discard()


async def test_one_lost_connection_is_no_absence(db: Database):
    async with db.acquire() as connection:
        backend = connection.get_server_pid()
    with pytest.raises(Unavailable):
        async with db.acquire() as connection:
            await connection.fetchval("SELECT pg_terminate_backend(pg_backend_pid())")
    assert await db.fetchval("SELECT pg_backend_pid()") != backend
    assert not db.outage.is_away


async def test_frozen_server_is_waited_for_with_a_limit(node: Node):
    async with watched_database(node.url, command_timeout_seconds=0.5) as db:
        node.freeze()
        try:
            with pytest.raises(Unavailable):
                await db.fetchval("SELECT 1")
            await wait_for(lambda: db.outage.is_away, what="the absence")
        finally:
            node.thaw()
        await wait_for(lambda: not db.outage.is_away, what="the return")
        assert await db.fetchval("SELECT 1") == 1


async def test_connections_used_up_end_nothing_that_is_open(node: Node, db: Database):
    appender = Appender(db)
    await appender.store([draft("g", "ann")])
    others = Database(node.url, pool_size=40)
    taken: list[Connection] = []

    async def take_all() -> None:
        while True:
            taken.append(await others.connect())

    try:
        with pytest.raises(Unavailable):
            await take_all()
        assert await db.fetchval("SELECT 1") == 1
        assert [answer.seq for answer in await appender.store([draft("g", "ann")])] == [2]
        with pytest.raises(Unavailable):
            async with db.acquire(), db.acquire():
                pass
    finally:
        for connection in taken:
            connection.terminate()
    await wait_for(lambda: not db.outage.is_away, what="room")
    appender.discard()
    assert [text for _, text in await log_of(db, "g")] == ["hello", "hello"]


async def test_value_that_the_driver_refuses_says_nothing_of_the_server(db: Database):
    generation = db.generation
    with pytest.raises(BadData):
        await db.fetchval("SELECT $1::bigint", 2**63)
    with pytest.raises(BadData):
        await db.fetchval("SELECT $1::text", "\ud800")
    assert db.generation == generation


async def test_connection_that_was_being_made_when_all_expired_is_not_used_on(db: Database, monkeypatch):
    """It was looked at before, so it may lead to a former primary."""
    make_codec = Connection.set_type_codec

    async def expire_and_make_codec(self: Connection, *args: object, **options: object) -> None:
        db.expire()
        await make_codec(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Connection, "set_type_codec", expire_and_make_codec)
    connection = await db.connect()
    assert not db.is_good(connection)
    connection.terminate()


async def test_database_that_takes_no_connections_for_a_while_is_away(node: Node, db: Database):
    """As while it is being restored under another name."""
    node.sql("CREATE DATABASE briefly")
    async with watched_database(node.url.replace("@/postgres?", "@/briefly?")) as briefly:
        node.sql("ALTER DATABASE briefly ALLOW_CONNECTIONS false")
        briefly.expire()
        with pytest.raises(Unavailable):
            await briefly.fetchval("SELECT 1")
        await wait_for(lambda: briefly.outage.is_away, what="the absence")
        node.sql("ALTER DATABASE briefly RENAME TO elsewhere")
        with pytest.raises(Unavailable):
            await briefly._connect()
        node.sql("ALTER DATABASE elsewhere RENAME TO briefly")
        node.sql("ALTER DATABASE briefly ALLOW_CONNECTIONS true")
        await wait_for(lambda: not briefly.outage.is_away, what="the return")
        assert await briefly.fetchval("SELECT 1") == 1
    node.sql("DROP DATABASE briefly")
