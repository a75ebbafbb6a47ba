"""The pool lends each connection to one at a time, as good as new."""

import asyncio

import pytest

from storage.errors import Unavailable
from storage.postgres.connections import pool as module
from storage.postgres.connections.database import Database
from tests.support.databases import fresh_schema
from tests.support.waiting import wait_for


@pytest.fixture
async def small(postgres_url: str):
    """A database with two connections at most, for which one waits half a second."""
    async with fresh_schema(postgres_url) as schema:
        database = Database(postgres_url, schema=schema, pool_size=2, command_timeout_seconds=0.5)
        await database.open()
        yield database
        await database.close()


async def backend(database: Database) -> int:
    return int(await database.fetchval("SELECT pg_backend_pid()"))


async def test_one_connection_serves_those_who_come_one_after_the_other(small):
    assert len({await backend(small) for _ in range(5)}) == 1


async def test_who_finds_none_waits_and_gives_up_in_time(small):
    async with small.acquire():
        async with small.acquire():
            with pytest.raises(Unavailable):
                await backend(small)
            waiting = asyncio.create_task(backend(small))
            await asyncio.sleep(0)
        assert await waiting


async def test_one_who_is_cancelled_while_waiting_takes_no_place_along(small):
    async with small.acquire(), small.acquire():
        waiting = asyncio.create_task(backend(small))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with small.acquire(), small.acquire():
        pass


async def test_connection_that_was_left_in_a_transaction_is_not_lent_again(small):
    before = await backend(small)
    async with small.acquire() as connection:
        await connection.execute("BEGIN")
    assert await backend(small) != before


async def test_connections_of_before_are_not_lent_again(small):
    before = await backend(small)
    async with small.acquire() as lent:
        small.expire()
        assert await lent.fetchval("SELECT 1") == 1  # whoever has it goes on
    assert await backend(small) != before


async def test_connection_that_the_server_closed_ends_all_of_its_time(small):
    async with small.acquire() as one, small.acquire() as other:
        backends = {one.get_server_pid(), other.get_server_pid()}
    generation = small.generation
    killer = await small.connect()
    await killer.execute("SELECT pg_terminate_backend($1)", one.get_server_pid())  # it will be lent next
    killer.terminate()
    await wait_for(one.is_closed, what="the end of the connection")
    assert await backend(small) not in backends
    assert small.generation == generation + 1


async def test_connection_that_was_idle_for_long_is_not_lent_again(small, monkeypatch):
    before = await backend(small)
    monkeypatch.setattr(module, "_MAX_IDLE_SECONDS", 0.0)
    assert await backend(small) != before


async def test_close_ends_what_is_idle_and_waits_for_what_is_lent(small):
    lent = small.acquire()
    connection = await lent.__aenter__()
    closing = asyncio.create_task(small.close())
    await asyncio.sleep(0)
    assert await connection.fetchval("SELECT 1") == 1
    assert not closing.done()
    await lent.__aexit__(None, None, None)
    await closing
    assert connection.is_closed()
