"""The past in memory: shared between readers, bounded, and never with a gap."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parley.v1 import chat_pb2

from service.convert.items import Item
from service.delivery.history import History, _size_bytes
from storage.postgres.connections.database import Database
from storage.postgres.log.messages import Messages
from storage.records import Position
from tests.support.log import add_group
from tests.support.logs import add_users, send

LENGTH = 40


@pytest.fixture(scope="module")
async def messages(module_database: Database) -> Messages:
    """g and h have LENGTH entries each, of one sender."""
    await add_users(module_database, "ann")
    for group in ("g", "h"):
        await add_group(module_database, group, "ann")
        for _ in range(LENGTH):
            await send(module_database, group, "ann", "x" * 100)
    return Messages(module_database)


def seqs(items: list[Item]) -> list[int]:
    for item in items:
        assert chat_pb2.ChatResponse.FromString(item.body).messages[0].seq == item.seq
    return [item.seq for item in items]


async def read(history: History, seq: int, limit: int, name: str = "g") -> list[int]:
    return seqs((await history.read_after([Position(name, seq)], limit_each=limit))[name])


async def test_what_one_reader_had_read_serves_the_others(messages):
    history = History(messages)
    assert await read(history, 10, 20) == list(range(11, 31))
    for seq in range(10, 30):
        assert await read(history, seq, 20) == list(range(seq + 1, 31))
    assert history.read_count == 1


async def test_read_ends_where_the_next_part_begins_and_serves_on_from_there(messages):
    history = History(messages)
    assert await read(history, 20, 10) == list(range(21, 31))
    assert await read(history, 15, 10) == list(range(16, 21))
    assert await read(history, 20, 10) == list(range(21, 31))
    assert history.read_count == 2


async def test_end_of_the_log_is_an_empty_list_and_asked_again_each_time(messages, module_database):
    history = History(messages)
    await add_group(module_database, "grows", "ann")
    assert await read(history, 0, 9, "grows") == []
    await send(module_database, "grows", "ann")
    assert await read(history, 0, 9, "grows") == [1]
    await send(module_database, "grows", "ann")
    assert await read(history, 1, 9, "grows") == [2]
    assert await read(history, 0, 9, "grows") == [1]


async def test_one_statement_reads_what_several_conversations_lack(messages, module_database):
    history = History(messages)
    before = module_database.statement_count
    found = await history.read_after([Position("g", 5), Position("h", 7), Position("none", 0)], limit_each=3)
    assert {name: seqs(items) for name, items in found.items()} == {"g": [6, 7, 8], "h": [8, 9, 10], "none": []}
    assert module_database.statement_count - before == 1


async def test_least_used_goes_first_and_memory_is_bounded(messages):
    one_bytes = History(messages)
    await read(one_bytes, 0, 10)
    history = History(messages, max_bytes=one_bytes.size_bytes * 5 // 2)
    await read(history, 0, 10)
    await read(history, 10, 10)
    assert await read(history, 0, 10) == list(range(1, 11))  # used again: the other one goes
    await read(history, 20, 10)
    count = history.read_count
    assert await read(history, 0, 10) == list(range(1, 11))
    assert history.read_count == count
    assert await read(history, 10, 10) == list(range(11, 21))
    assert history.read_count == count + 1
    assert history.size_bytes <= one_bytes.size_bytes * 5 // 2


@given(steps=st.lists(st.tuples(st.integers(0, LENGTH), st.integers(1, 15)), min_size=1, max_size=30))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_order_of_reads_gives_the_log(messages, steps):
    history = History(messages, max_bytes=8_000)
    for seq, limit in steps:
        found = await read(history, seq, limit)
        assert found == list(range(seq + 1, seq + 1 + len(found)))
        assert found or seq == LENGTH
        assert history.size_bytes <= 8_000


texts = st.one_of(
    st.tuples(st.just("read"), st.integers(0, LENGTH), st.integers(1, 15)),
    st.tuples(st.just("change"), st.sets(st.integers(1, LENGTH), min_size=1, max_size=3), st.booleans()),
)


@given(steps=st.lists(texts, min_size=1, max_size=20))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_history_brings_changed_entries_as_they_are_after_it_forgot_them(messages, module_database, steps):
    history = History(messages, max_bytes=8_000)
    model = dict.fromkeys(range(1, LENGTH + 1), "first")
    await module_database.execute("UPDATE messages SET text = 'first' WHERE conversation_id = 'g'")
    for nth, (what, first, second) in enumerate(steps):
        if what == "read":
            items = (await history.read_after([Position("g", first)], limit_each=second))["g"]
            found = [chat_pb2.ChatResponse.FromString(item.body).messages[0] for item in items]
            assert [(one.seq, one.text) for one in found] == [
                (seq, model[seq]) for seq in range(first + 1, first + 1 + len(found))
            ]
        else:
            model |= dict.fromkeys(first, f"change {nth}")
            await module_database.execute(
                "UPDATE messages SET text = $2 WHERE conversation_id = 'g' AND seq = ANY ($1)", first, f"change {nth}"
            )
            history.forget("g", None if second else first)
        assert history.size_bytes == sum(_size_bytes(part) for part in history._parts.values()) <= 8_000


@pytest.mark.parametrize("changed", [11, 15, 20])
async def test_history_forgets_the_parts_of_an_entry_and_no_others(messages, changed):
    history = History(messages)
    for seq in (0, 10, 20):
        await read(history, seq, 10)
    history.forget("g", {changed, 99})
    history.forget("h", {1})
    for seq, is_read in ((0, False), (10, True), (20, False)):
        count = history.read_count
        await read(history, seq, 10)
        assert (history.read_count > count) == is_read
