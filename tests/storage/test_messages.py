"""The read side of the log: pages, times, backlogs; what each reads, in how many statements and by which plan."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from storage.errors import Absent
from storage.postgres.connections.database import Database
from storage.postgres.conversations.members import Members
from storage.postgres.log.messages import PAGE_BYTES, PAGE_FORWARD, PAGE_REVERSE, TOP_SEQ, Messages
from storage.records import EntryKind, MembershipAction, MembershipChange, Position, Role, Span
from tests.support.log import add_group
from tests.support.logs import add_users, send

LENGTH = 8
INFINITE = 10**6
# What a member may see of a log of 8 entries: (first, last) of each interval, INFINITE for one who is in.
SIGHTS: dict[str, list[tuple[int, int]]] = {
    "member": [(1, INFINITE)],
    "joined with hidden history": [(3, INFINITE)],
    "came back with hidden history": [(1, 2), (5, 5), (8, INFINITE)],
    "hid a direct conversation": [(9, INFINITE)],
    "removed": [(1, 6)],
    "removed twice": [(1, 2), (4, 6)],
}
TIME = datetime(2026, 1, 1, tzinfo=UTC)


async def add_log(database: Database, conversation_id: str, username: str, length: int, *, first_seq: int = 1) -> None:
    """Makes a log of so many entries, a second apart, in one statement; its only member sees all."""
    await add_users(database, username)
    await add_group(database, conversation_id, username)
    await database.execute(
        """INSERT INTO messages (conversation_id, seq, kind, sender, request_id, request_hash, create_time,
                                 message_number, size_bytes, text)
           SELECT $1, n, 1, $2, n::text, '', $3::timestamptz + n * interval '1 second', n, 100, 'text ' || n
           FROM generate_series($4::bigint, $5::bigint) n""",
        conversation_id,
        username,
        TIME,
        first_seq,
        length,
    )
    await database.execute(
        "UPDATE conversations SET last_seq = $2, first_seq = $3 WHERE conversation_id = $1",
        conversation_id,
        length,
        first_seq,
    )


async def set_sight(database: Database, conversation_id: str, username: str, sight: list[tuple[int, int]]) -> None:
    shown = ",".join(f"[{first},{'' if last == INFINITE else last + 1})" for first, last in sight)
    await database.execute(
        "UPDATE members SET visible = $3::text::int8multirange, role = $4 WHERE conversation_id = $1 AND username = $2",
        conversation_id,
        username,
        f"{{{shown}}}",
        Role.MEMBER if sight[-1][1] == INFINITE else Role.GONE,
    )


def seen_by(sight: list[tuple[int, int]], *, first_seq: int = 1) -> list[int]:
    return [seq for seq in range(first_seq, LENGTH + 1) if any(first <= seq <= last for first, last in sight)]


@pytest.fixture(scope="module")
async def messages(module_database: Database) -> Messages:
    await add_log(module_database, "small", "ann", LENGTH)
    await add_log(module_database, "trimmed", "tim", LENGTH, first_seq=4)
    return Messages(module_database)


@pytest.mark.parametrize("sight", SIGHTS.values(), ids=SIGHTS)
async def test_pages_are_what_the_user_may_see_from_every_cursor(messages, module_database, sight):
    await set_sight(module_database, "small", "ann", sight)
    seen = seen_by(sight)
    last_seq = LENGTH if sight[-1][1] == INFINITE else sight[-1][1]
    for cursor in (0, *range(1, LENGTH + 3)):
        for limit in (1, 2, 3, 500):
            page = await messages.read_page("small", "ann", cursor=cursor, limit=limit, reverse=False)
            wanted = [seq for seq in seen if seq >= cursor]
            assert [entry.seq for entry in page.entries] == wanted[:limit]
            assert (page.has_more, page.last_seq, page.epoch) == (len(wanted) > limit, last_seq, 1)
            page = await messages.read_page("small", "ann", cursor=cursor, limit=limit, reverse=True)
            wanted = [seq for seq in reversed(seen) if not cursor or seq <= cursor]
            assert [entry.seq for entry in page.entries] == wanted[:limit]
            assert (page.has_more, page.last_seq) == (len(wanted) > limit, last_seq)


async def test_what_is_not_kept_any_more_is_no_part_of_a_page(messages):
    page = await messages.read_page("trimmed", "tim", cursor=0, limit=3, reverse=False)
    assert ([entry.seq for entry in page.entries], page.has_more) == ([4, 5, 6], True)
    page = await messages.read_page("trimmed", "tim", cursor=5, limit=3, reverse=True)
    assert ([entry.seq for entry in page.entries], page.has_more) == ([5, 4], False)


async def test_page_of_an_empty_conversation_is_empty(messages, module_database):
    await add_users(module_database, "eve")
    await add_group(module_database, "empty", "eve")
    for reverse in (False, True):
        page = await messages.read_page("empty", "eve", cursor=0, limit=5, reverse=reverse)
        assert (page.entries, page.last_seq, page.has_more) == ((), 0, False)


async def test_conversation_of_others_deleted_or_absent_is_absent(messages, module_database):
    await add_log(module_database, "deleted", "del", 2)
    await module_database.execute("UPDATE conversations SET delete_time = now() WHERE conversation_id = 'deleted'")
    for conversation_id, username in (("small", "tim"), ("deleted", "del"), ("nosuchgroup", "ann")):
        with pytest.raises(Absent):
            await messages.read_page(conversation_id, username, cursor=0, limit=5, reverse=False)
        with pytest.raises(Absent):
            await messages.find_seq_by_time(conversation_id, username, TIME, reverse=False)
        assert await messages.read_backlog(username, [Position(conversation_id, 0)], limit_each=5) == {}


async def test_page_stops_at_its_size_but_has_at_least_one_entry(messages, module_database):
    await add_users(module_database, "max")
    await add_group(module_database, "large", "max")
    sizes = [65_000] * 20 + [PAGE_BYTES + 1] * 2
    for size in sizes:
        await send(module_database, "large", "max", size_bytes=size)
    pages = []
    cursor = 0
    while True:
        page = await messages.read_page("large", "max", cursor=cursor, limit=500, reverse=False)
        pages.append([entry.seq for entry in page.entries])
        assert sum(entry.size_bytes for entry in page.entries[:-1]) < PAGE_BYTES
        cursor = page.entries[-1].seq + 1
        if not page.has_more:
            break
    assert [len(page) for page in pages] == [15, 6, 1]
    assert [seq for page in pages for seq in page] == list(range(1, 23))
    page = await messages.read_page("large", "max", cursor=0, limit=500, reverse=True)
    assert ([entry.seq for entry in page.entries], page.has_more) == ([22], True)


async def test_page_time_entry_and_backlog_are_one_statement_each(messages, module_database):
    for read in (
        lambda: messages.read_page("trimmed", "tim", cursor=0, limit=5, reverse=False),
        lambda: messages.read_page("trimmed", "tim", cursor=7, limit=5, reverse=True),
        lambda: messages.find_seq_by_time("trimmed", "tim", TIME, reverse=False),
        lambda: messages.get_entry("trimmed", 5),
        lambda: messages.read_spans([Span("trimmed", 4, TOP_SEQ)], limit_each=10),
        lambda: messages.read_backlog("tim", [Position("trimmed", 0)] * 20, limit_each=10),
    ):
        before = module_database.statement_count
        await read()
        assert module_database.statement_count - before == 1


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def explain(database: Database, sql: str, mode: str, *args: object) -> list[dict[str, Any]]:
    async with database.transaction() as connection:
        await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        (row,) = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *args)
    (found,) = json.loads(row[0])
    return list(nodes(found["Plan"]))


@pytest.fixture(scope="module")
async def long_log(module_database: Database) -> Database:
    """A log of 20,000 entries between many others, so that the planner has something to choose between."""
    await add_log(module_database, "long", "lon", 20_000)
    await module_database.execute(
        """WITH many AS (SELECT 'other' || n AS conversation_id FROM generate_series(1, 2000) n), made AS (
             INSERT INTO conversations (conversation_id, kind, creator) SELECT conversation_id, 2, '' FROM many)
           INSERT INTO members (conversation_id, username, role, visible, start_seq, read_seq, read_count)
           SELECT conversation_id, 'user' || n, 2, '{[1,)}', 0, 0, 0 FROM many CROSS JOIN generate_series(1, 5) n"""
    )
    await module_database.execute("ANALYZE messages, conversations, members")
    return module_database


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("sql", [PAGE_FORWARD, PAGE_REVERSE], ids=["forward", "reverse"])
@pytest.mark.parametrize("cursor", [1, 10_000, 20_000])
async def test_page_costs_its_limit_and_not_the_log(long_log, sql, mode, cursor):
    limit = 20
    plan = await explain(long_log, sql, mode, "long", "lon", cursor, limit, PAGE_BYTES)
    scans = [node for node in plan if "Relation Name" in node and node["Relation Name"] != "deployment"]
    assert {node["Node Type"] for node in scans} <= {"Index Scan", "Index Only Scan"}
    assert {node["Relation Name"] for node in scans} == {"messages", "members", "conversations"}
    for node in scans:
        read = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        assert read <= (limit if node["Relation Name"] == "messages" else 1)


class Noting(Database):
    """A pool that is never opened and notes what it is asked."""

    asked: tuple[str, tuple[object, ...]]

    async def fetch(self, sql: str, *args: object) -> list[Any]:
        self.asked = (sql, args)
        return []


async def test_backlog_costs_its_limit_and_not_the_log(long_log):
    noting = Noting("postgresql://nowhere")
    await Messages(noting).read_backlog("lon", [Position("long", 100)], limit_each=50)
    text, args = noting.asked
    plan = await explain(long_log, text, "force_generic_plan", *args)
    read = [node for node in plan if node.get("Relation Name") == "messages"]
    assert {node["Node Type"] for node in read} == {"Index Scan"}
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in read) == 50


@pytest.mark.parametrize("sight", SIGHTS.values(), ids=SIGHTS)
async def test_time_finds_the_place_in_both_directions(messages, module_database, sight):
    """The log's times, in seconds: 1 2 2 2 5 6 6 8; asked for every half second."""
    seconds = [1, 2, 2, 2, 5, 6, 6, 8]
    await set_sight(module_database, "small", "ann", sight)
    seen = seen_by(sight)
    await module_database.execute(
        """UPDATE messages SET create_time = $1::timestamptz + ($2::int[])[seq] * interval '1 second'
           WHERE conversation_id = 'small'""",
        TIME,
        seconds,
    )
    for half in range(20):
        time = TIME + timedelta(seconds=half / 2)
        for reverse in (False, True):
            cursor = await messages.find_seq_by_time("small", "ann", time, reverse=reverse)
            if reverse:
                wanted = [seq for seq in reversed(seen) if seconds[seq - 1] <= half / 2]
            else:
                wanted = [seq for seq in seen if seconds[seq - 1] >= half / 2]
            if cursor == 0:
                assert reverse
                assert wanted == []
                continue
            page = await messages.read_page("small", "ann", cursor=cursor, limit=10, reverse=reverse)
            assert [entry.seq for entry in page.entries] == wanted, (half, reverse)
            assert cursor <= page.last_seq + 1


async def test_every_time_of_a_calendar_can_be_asked_for(messages):
    latest = datetime.max.replace(tzinfo=UTC)
    assert await messages.find_seq_by_time("trimmed", "tim", latest, reverse=True) == LENGTH
    assert await messages.find_seq_by_time("trimmed", "tim", latest, reverse=False) == LENGTH + 1
    earliest = datetime.min.replace(tzinfo=UTC)
    assert await messages.find_seq_by_time("trimmed", "tim", earliest, reverse=True) == 3
    assert await messages.find_seq_by_time("trimmed", "tim", earliest, reverse=False) == 4


async def test_spans_are_bounded_by_count_size_and_their_ends(messages):
    async def read(*spans, limit_each=500):
        found = await messages.read_spans([Span(*span) for span in spans], limit_each=limit_each)
        return [(entry.conversation_id, entry.seq) for entry in found]

    assert await read(("small", 2, TOP_SEQ), limit_each=4) == [("small", seq) for seq in (3, 4, 5, 6)]
    assert await read(("small", 2, 5)) == [("small", 3), ("small", 4)]
    assert await read(("small", 2, 3), ("small-not-there", 0, 9), ("small", LENGTH, TOP_SEQ)) == []
    assert len(await read(("large", 0, TOP_SEQ))) == 15
    both = await read(("large", 0, TOP_SEQ), ("small", 0, TOP_SEQ), limit_each=2)
    assert both == [("large", 1), ("large", 2), ("small", 1), ("small", 2)]
    shared = await read(*[("large", after, TOP_SEQ) for after in range(15)])
    assert shared == sorted([("large", seq) for seq in range(1, 16)]), "each has at least one, however large"


async def test_entry_is_read_as_it_stands(messages):
    entry = await messages.get_entry("trimmed", 5)
    assert (entry.seq, entry.kind, entry.sender, entry.text) == (5, EntryKind.MESSAGE, "tim", "text 5")
    assert entry.create_time == TIME + timedelta(seconds=5)
    with pytest.raises(Absent):
        await messages.get_entry("trimmed", 99)


async def test_backlog_of_several_conversations_at_once(database):
    messages = Messages(database)
    await add_users(database, "ann", "bob")
    for name in ("a", "b", "c", "gone", "left"):
        await add_group(database, name, "ann", "bob")
        for nth in range(6):
            await send(database, name, "ann", f"{name}{nth + 1}")
    await database.execute("UPDATE conversations SET delete_time = now() WHERE conversation_id = 'gone'")
    await set_sight(database, "left", "bob", [(1, 2), (4, 5)])
    wanted = [Position("c", 4), Position("a", 0), Position("gone", 0), Position("left", 1), Position("b", 6)]
    wanted.append(Position("nosuchgroup", 0))
    backlog = await messages.read_backlog("bob", wanted, limit_each=3)
    assert {
        name: ([entry.seq for entry in found.entries], found.end_seq, found.is_member)
        for name, found in backlog.items()
    } == {
        "a": ([1, 2, 3], 6, True),
        "b": ([], 6, True),
        "c": ([5, 6], 6, True),
        "left": ([2, 4, 5], 5, False),
    }
    assert [entry.text for entry in backlog["a"].entries] == ["a1", "a2", "a3"]


async def test_backlog_shares_its_size_between_the_conversations(database):
    messages = Messages(database)
    await add_users(database, "ann")
    names = [f"g{nth}" for nth in range(4)]
    for name in names:
        await add_group(database, name, "ann")
        for _ in range(10):
            await send(database, name, "ann", size_bytes=PAGE_BYTES // 8)
    backlog = await messages.read_backlog("ann", [Position(name, 0) for name in names], limit_each=100)
    assert [len(backlog[name].entries) for name in names] == [2, 2, 2, 2]
    alone = await messages.read_backlog("ann", [Position("g0", 0)], limit_each=100)
    assert len(alone["g0"].entries) == 8


async def test_page_after_a_real_return_with_hidden_history(database):
    """By the verbs: in, out, in again while history is hidden."""
    await add_users(database, "ann", "bob")
    await add_group(database, "g", "ann", "bob")
    await database.execute("UPDATE conversations SET history_visible = false")
    members, messages = Members(database), Messages(database)

    async def change(action: MembershipAction, number: str) -> None:
        role = Role.GONE if action == MembershipAction.REMOVED else Role.MEMBER
        made = MembershipChange(action, ("bob",), role)
        await members.change(
            "g", "ann", request_id=number, request_hash=b"", usernames=["bob"], decide=lambda standing: [made]
        )

    await send(database, "g", "ann", "1")
    await change(MembershipAction.REMOVED, "2")
    await send(database, "g", "ann", "3, unseen")
    page = await messages.read_page("g", "bob", cursor=0, limit=10, reverse=False)
    assert ([entry.seq for entry in page.entries], page.last_seq, page.has_more) == ([1, 2], 2, False)
    await change(MembershipAction.ADDED, "4")
    await send(database, "g", "ann", "5")
    page = await messages.read_page("g", "bob", cursor=0, limit=2, reverse=False)
    assert ([entry.seq for entry in page.entries], page.last_seq, page.has_more) == ([1, 2], 5, True)
    page = await messages.read_page("g", "bob", cursor=3, limit=10, reverse=False)
    assert [entry.seq for entry in page.entries] == [4, 5]
    page = await messages.read_page("g", "bob", cursor=0, limit=10, reverse=True)
    assert ([entry.seq for entry in page.entries], page.has_more) == ([5, 4, 2, 1], False)
