"""Statements are planned once, by index look-ups, also where the planner would scan; PostgreSQL counts what it did."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from storage.postgres.connections.database import Connection, Database
from storage.postgres.conversations.conversations import Conversations
from storage.postgres.conversations.members import Members
from storage.postgres.conversations.receipts import Receipts
from storage.postgres.devices.cursors import Ack, Cursors
from storage.postgres.devices.deliveries import Deliveries
from storage.postgres.devices.devices import Devices
from storage.postgres.log.messages import TOP_SEQ, Messages
from storage.records import DeviceMode, Position, Span
from tests.measure.setting import add_conversations
from tests.support.databases import fresh_schema
from tests.support.log import add_group
from tests.support.logs import add_users, send

# A statement is planned anew the first five times, and then as often as that seems to pay, if nobody says otherwise.
TIMES = 8
STRANGERS = 1000
CAROLS = 20


@pytest.fixture(params=["analyzed while small", "never analyzed"])
async def single(postgres_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """A database of one connection, whose tables have grown since PostgreSQL looked at them, if it ever did.

    To scan tables that were small looks cheapest. Of one that was never looked at, few rows are believed to be NULL.
    """
    async with fresh_schema(postgres_url) as schema:
        database = Database(postgres_url, schema=schema, pool_size=1)
        await database.open()
        await add_users(database, "ann", "bob")
        for nth in range(3):
            await add_group(database, f"g{nth}", "ann", "bob")
            await send(database, f"g{nth}", "ann")
        await Cursors(database).enroll_device("bob", "phone", max_devices=3)
        await Cursors(database).store_acks([Ack("bob", "phone", "g0", 1)])
        for table in ("users", "conversations", "members", "messages", "cursors", "devices"):
            await database.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
            if request.param == "analyzed while small":
                await database.execute(f"ANALYZE {table}")
        carols = [f"carol{nth}" for nth in range(CAROLS)]
        await add_conversations(database, [f"other{nth}" for nth in range(STRANGERS)], carols)
        yield database
        await database.close()


def statements_of_streams(database: Database) -> list[Callable[[], Awaitable[object]]]:
    """What connects, sends, acknowledges, reads."""
    cursors, messages, receipts = Cursors(database), Messages(database), Receipts(database)
    devices = Devices(database, worker_id="w")
    return [
        lambda: devices.admit_stream("bob", "phone", DeviceMode(), session_id=1),
        lambda: devices.forget_streams([1]),
        lambda: cursors.membership_versions(["bob", "ann"]),
        lambda: cursors.read_memberships("bob"),
        lambda: cursors.last_seqs(["g0", "g1"]),
        lambda: cursors.list_subscription_starts("bob", "phone"),
        lambda: cursors.list_subscription_starts("bob", "phone", only=["g0"], also_former=["g0"]),
        lambda: cursors.store_acks([Ack("bob", "phone", "g1", 1), Ack("bob", "phone", "g2", 1)]),
        lambda: messages.read_spans([Span("g0", 0, TOP_SEQ)], limit_each=10),
        lambda: messages.read_backlog("bob", [Position("g0", 0), Position("g1", 0)], limit_each=10),
        lambda: messages.read_page("g0", "bob", cursor=1, limit=10, reverse=False),
        lambda: send(database, "g0", "ann"),
        lambda: Members(database).mark_read("g0", "bob", 1),
        lambda: receipts.read([("g0", "bob")]),
        lambda: Deliveries(database, retry_seconds=[1.0]).list_ready("bob", "phone"),
        lambda: Conversations(database).list_page("bob", after=None, limit=10),
        lambda: Conversations(database).list_group_ids("bob"),
        lambda: Deliveries(database, retry_seconds=[1.0]).begin_at_end("bob", "phone"),
        lambda: Conversations(database).shares_conversation("bob", ["ann"]),
    ]


async def reads(database: Database) -> tuple[dict[str, int], int]:
    """How often each table was read as a whole, and how many entries of indexes were read.

    The deployment's only row can't be read otherwise.
    """
    await database.fetchval("SELECT pg_stat_force_next_flush()")
    rows = await database.fetch(
        """SELECT t.relname, t.seq_scan,
                  (SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes i WHERE i.relid = t.relid) AS entries
           FROM pg_stat_user_tables t WHERE t.schemaname = current_schema AND t.relname <> 'deployment'"""
    )
    return {row["relname"]: row["seq_scan"] for row in rows}, int(sum(row["entries"] or 0 for row in rows))


async def test_statements_of_streams_read_what_they_are_about_and_nothing_else(single):
    too_much: list[int] = []  # positions in the list
    for nth, ask in enumerate(statements_of_streams(single)):
        scans_before, entries_before = await reads(single)
        await ask()
        scans, entries = await reads(single)
        if scans != scans_before or entries - entries_before >= STRANGERS / 10:
            too_much.append(nth)
    assert too_much == []


async def test_statements_of_streams_are_planned_once(single):
    for _ in range(TIMES):
        for ask in statements_of_streams(single):
            await ask()
    planned = await single.fetch("SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements")
    assert sum(row["generic_plans"] >= TIMES for row in planned) >= len(statements_of_streams(single)) - 1
    assert [row["statement"] for row in planned if row["custom_plans"]] == []


async def ask_and_listen(connection: Connection, sql: str, *args: object) -> tuple[object, list[str]]:
    """Runs a statement; gives its value, and the statements that took."""
    asked: list[str] = []

    def note(record: object) -> None:
        asked.append(record.query)

    with connection.query_logger(note):
        value = await connection.fetchval(sql, *args)
        await asyncio.sleep(0)  # notes are made in the next turn of the loop
    return value, asked


@pytest.mark.parametrize(("type_name", "value"), [("bigint[]", [1, 2**40]), ("bytea[]", [b"a"]), ("real[]", [0.5])])
async def test_types_of_postgres_are_asked_for_once_a_process(database, type_name, value):
    sql = f"SELECT $1::{type_name}"
    for is_first in (True, False):
        connection = await database.connect()
        try:
            found, asked = await ask_and_listen(connection, sql, value)
        finally:
            connection.terminate()
        assert found == value
        assert is_first or asked == [sql]


async def test_types_of_a_database_are_asked_for_on_each_connection(database):
    """Their numbers are that database's, and may be another type's tomorrow."""
    await database.execute("CREATE TYPE mood AS ENUM ('glad')")
    for _ in ("first", "second"):
        connection = await database.connect()
        try:
            found, asked = await ask_and_listen(connection, "SELECT $1::mood[]", ["glad"])
        finally:
            connection.terminate()
        assert found == ["glad"]
        assert len(asked) > 1
