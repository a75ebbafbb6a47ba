import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest

from storage.errors import Absent, LockTimeout, UserAbsent
from storage.postgres.connections.database import Connection, Database
from storage.postgres.conversations.conversations import Conversations
from storage.postgres.conversations.members import Members
from storage.records import (
    ConversationKind,
    EntryKind,
    MembershipAction,
    MembershipChange,
    MembershipResult,
    MembershipView,
    Outcome,
    Role,
)
from tests.support.logs import add_users, delete_user, send
from tests.support.waiting import wait_for

NAMES = ("ann", "bob", "cid", "dan")


@pytest.fixture
async def members(database: Database) -> Members:
    """A group g1 of ann (OWNER) and bob (MEMBER)."""
    await add_users(database, *NAMES)
    await make_group(database, "g1")
    return Members(database)


async def make_group(database: Database, conversation_id: str, *, history_visible: bool = True) -> None:
    await Conversations(database).create_group(
        conversation_id,
        "ann",
        others=["bob"],
        title="",
        history_visible=history_visible,
        request_id=None,
        request_hash=None,
    )


def decides(
    action: MembershipAction, *usernames: str, role: Role = Role.GONE
) -> Callable[[MembershipView], Sequence[MembershipChange]]:
    return lambda standing: [MembershipChange(action, usernames, role)]


async def change(
    members: Members,
    action: MembershipAction,
    *usernames: str,
    role: Role = Role.GONE,
    caller: str = "ann",
    request_id: str = "r1",
    request_hash: bytes = b"h",
    conversation_id: str = "g1",
) -> MembershipResult:
    return await members.change(
        conversation_id,
        caller,
        request_id=request_id,
        request_hash=request_hash,
        usernames=usernames,
        decide=decides(action, *usernames, role=role),
    )


async def add(members: Members, *usernames: str, role: Role = Role.MEMBER, **more: object) -> MembershipResult:
    return await change(members, MembershipAction.ADDED, *usernames, role=role, **more)


async def remove(members: Members, *usernames: str, **more: object) -> MembershipResult:
    return await change(members, MembershipAction.REMOVED, *usernames, **more)


async def names_in(members: Members, caller: str = "ann", conversation_id: str = "g1") -> list[str]:
    return [member.username for member in await members.list_page(conversation_id, caller, after="", limit=100)]


async def row_of(database: Database, username: str, conversation_id: str = "g1") -> asyncpg.Record:
    row = await database.fetchrow(
        "SELECT *, visible::text AS intervals FROM members WHERE conversation_id = $1 AND username = $2",
        conversation_id,
        username,
    )
    assert row is not None
    return row


async def versions(database: Database) -> dict[str, int]:
    rows = await database.fetch("SELECT username, membership_version FROM users")
    return {row["username"]: row["membership_version"] for row in rows}


@asynccontextmanager
async def held(database: Database, sql: str, *args: object) -> AsyncIterator[Connection]:
    """A transaction of another connection that ran a statement and is not committed before the block ends."""
    connection = await database.connect()
    try:
        async with connection.transaction():
            await connection.execute(sql, *args)
            yield connection
    finally:
        await connection.close()


async def nobody_waits(database: Database) -> bool:
    return not await database.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")


async def wait_until_one_waits(database: Database) -> None:
    async def somebody_waits() -> bool:
        return not await nobody_waits(database)

    await wait_for(somebody_waits, limit_seconds=3, what="a wait for the lock")


LOCK = "SELECT 1 FROM conversations WHERE conversation_id = 'g1' FOR NO KEY UPDATE"


# Entries


async def test_change_is_an_entry_of_the_log_and_counts_as_no_message(members, database):
    await send(database, "g1", "bob")
    result = await add(members, "cid", "dan", role=Role.READER)
    (entry,) = result.entries
    assert (result.outcome, entry.seq, entry.kind, entry.sender) == (Outcome.STORED, 2, EntryKind.MEMBERSHIP, "ann")
    assert entry.extras == {"membership": {"action": 1, "members": ["cid", "dan"], "role": 1}}
    assert (entry.request_id, entry.text) == ("r1", "")
    seen = await Conversations(database).get("g1", "ann")
    assert (seen.last_seq, seen.last_time, seen.member_count, seen.unread_count) == (2, entry.create_time, 4, 1)
    assert seen.last_entry == entry
    assert await database.fetchval("SELECT message_number FROM messages WHERE seq = 2") == 1
    assert await database.fetch("SELECT conversation_ids, last_seqs FROM commit_feed ORDER BY feed_id") == [
        (["g1"], [1]),
        (["g1"], [2]),
    ]
    assert (await send(database, "g1", "bob")).seq == 3


async def test_time_of_an_entry_never_falls(members, database):
    await database.execute("UPDATE conversations SET last_time = clock_timestamp() + interval '1 day'")
    last_time = await database.fetchval("SELECT last_time FROM conversations")
    assert (await add(members, "cid")).entries[0].create_time == last_time


async def test_nothing_to_change_writes_nothing(members, database):
    result = await members.change(
        "g1", "ann", request_id="r1", request_hash=b"h", usernames=["bob"], decide=lambda standing: []
    )
    assert result == MembershipResult(Outcome.STORED)
    assert await database.fetchval("SELECT count(*) FROM messages") == 0
    assert await versions(database) == {"ann": 1, "bob": 1, "cid": 0, "dan": 0}


async def test_versions_grow_for_those_who_came_or_went(members, database):
    assert (await add(members, "cid", "dan")).moved == ("cid", "dan")
    assert (await remove(members, "cid", request_id="r2")).moved == ("cid",)
    changed = await change(members, MembershipAction.ROLE_CHANGED, "dan", role=Role.ADMIN, request_id="r3")
    assert changed.moved == ()
    assert await versions(database) == {"ann": 1, "bob": 1, "cid": 2, "dan": 1}


async def test_two_changes_of_one_request_are_two_entries(members, database):
    result = await members.change(
        "g1",
        "ann",
        request_id="r1",
        request_hash=b"h",
        usernames=["ann"],
        decide=lambda standing: [
            MembershipChange(MembershipAction.ROLE_CHANGED, (str(standing.successor),), Role.OWNER),
            MembershipChange(MembershipAction.REMOVED, ("ann",), Role.GONE),
        ],
    )
    assert [(entry.seq, entry.request_id) for entry in result.entries] == [(1, "r1-1"), (2, "r1")]
    assert (await row_of(database, "bob"))["role"] == Role.OWNER
    assert (await row_of(database, "ann"))["intervals"] == "{[1,3)}"


# What a decision is made from


async def standing_of(members: Members, caller: str, *usernames: str) -> MembershipView:
    seen: list[MembershipView] = []

    def look(standing: MembershipView) -> list[MembershipChange]:
        seen.append(standing)
        return []

    await members.change("g1", caller, request_id="look", request_hash=b"", usernames=usernames, decide=look)
    return seen[0]


async def test_standing_says_who_is_what(members):
    await add(members, "cid", role=Role.ADMIN)
    await add(members, "dan", role=Role.ADMIN, request_id="r2")
    await remove(members, "bob", request_id="r3")
    assert await standing_of(members, "ann", "bob", "ann", "nobody") == MembershipView(
        kind=ConversationKind.GROUP,
        member_count=3,
        caller_role=Role.OWNER,
        roles={"bob": Role.GONE, "ann": Role.OWNER, "nobody": Role.GONE},
        successor="cid",
        successor_role=Role.ADMIN,
    )
    assert (await standing_of(members, "bob", "cid")).caller_role == Role.GONE
    assert (await standing_of(members, "nobody", "cid")).successor == "ann"
    assert (await standing_of(members, "ann", "ann", "cid", "dan")).successor is None


async def test_no_conversation_and_no_decision(members):
    result = await add(members, "cid", conversation_id="g2")
    assert result == MembershipResult(Outcome.NO_CONVERSATION)


# Intervals


async def test_new_member_sees_history_and_has_nothing_unread(members, database):
    for _ in range(3):
        await send(database, "g1", "bob")
    await add(members, "cid")
    row = await row_of(database, "cid")
    assert (row["intervals"], row["start_seq"], row["read_seq"], row["read_count"]) == ("{[1,)}", 3, 3, 3)
    assert (await Conversations(database).get("g1", "cid")).unread_count == 0
    await send(database, "g1", "bob")
    assert (await Conversations(database).get("g1", "cid")).unread_count == 1


async def test_new_member_sees_from_the_own_entry_on_when_history_is_hidden(members, database):
    await make_group(database, "g2", history_visible=False)
    await send(database, "g2", "bob")
    await add(members, "cid", conversation_id="g2")
    assert (await row_of(database, "cid", "g2"))["intervals"] == "{[2,)}"


async def test_removal_takes_nothing_from_the_intervals_but_what_is_above(members, database):
    await make_group(database, "g2", history_visible=False)
    await send(database, "g2", "bob")
    for nth in range(2):  # entries 2 and 3, 5 and 6
        await add(members, "cid", conversation_id="g2", request_id=f"in{nth}")
        await remove(members, "cid", conversation_id="g2", request_id=f"out{nth}")
        await send(database, "g2", "bob")
    assert (await row_of(database, "cid", "g2"))["intervals"] == "{[2,4),[5,7)}"


async def test_removed_member_sees_up_to_the_removal(members, database):
    await send(database, "g1", "bob")
    assert (await remove(members, "bob")).entries[0].seq == 2
    row = await row_of(database, "bob")
    assert (row["intervals"], row["role"]) == ("{[1,3)}", 0)
    assert (await send(database, "g1", "bob")).outcome == Outcome.NOT_A_MEMBER
    with pytest.raises(Absent):
        await members.list_page("g1", "bob", after="", limit=10)
    with pytest.raises(Absent):
        await members.mark_read("g1", "bob", 1)


@pytest.mark.parametrize(("conversation_id", "intervals"), [("g1", "{[1,)}"), ("g2", "{[1,3),[4,)}")])
async def test_coming_back_opens_another_interval(members, database, conversation_id, intervals):
    await make_group(database, "g2", history_visible=False)
    await send(database, conversation_id, "bob")
    await remove(members, "bob", conversation_id=conversation_id)  # entry 2
    await send(database, conversation_id, "ann")
    result = await add(members, "bob", role=Role.READER, request_id="r2", conversation_id=conversation_id)
    row = await row_of(database, "bob", conversation_id)
    assert (row["intervals"], row["role"]) == (intervals, Role.READER)
    assert (row["read_seq"], row["read_count"], row["own_unread"]) == (3, 2, 0)
    assert row["join_time"] == result.entries[0].create_time
    seen = await Conversations(database).get(conversation_id, "bob")
    assert (seen.member_count, seen.unread_count) == (2, 0)


async def test_deletion_takes_everybody_out_with_the_last_entry(members, database):
    await add(members, "cid")
    await remove(members, "cid", request_id="r2")
    result = await members.change(
        "g1",
        "ann",
        request_id="r3",
        request_hash=b"h",
        usernames=[],
        decide=decides(MembershipAction.CONVERSATION_DELETED),
    )
    assert result.moved == ("ann", "bob")
    assert result.entries[0].extras == {"membership": {"action": 4, "members": [], "role": 0}}
    assert {name: (await row_of(database, name))["intervals"] for name in ("ann", "bob", "cid")} == {
        "ann": "{[1,4)}",
        "bob": "{[1,4)}",
        "cid": "{[1,3)}",
    }
    row = await database.fetchrow("SELECT member_count, delete_time IS NOT NULL FROM conversations")
    assert tuple(row or ()) == (0, True)
    with pytest.raises(Absent):
        await Conversations(database).get("g1", "ann")
    assert (await send(database, "g1", "ann")).outcome == Outcome.NO_CONVERSATION
    assert (await add(members, "cid", request_id="r4")).outcome == Outcome.NO_CONVERSATION


# Repeats


async def test_repeat_gets_the_first_entry_before_anything_is_decided(members, database):
    first = await add(members, "cid")
    await remove(members, "ann", caller="bob")

    def never(standing: MembershipView) -> list[MembershipChange]:
        raise AssertionError("asked")

    repeat = await members.change("g1", "ann", request_id="r1", request_hash=b"h", usernames=["cid"], decide=never)
    assert repeat == MembershipResult(Outcome.DUPLICATE, first.entries)
    other = await members.change("g1", "ann", request_id="r1", request_hash=b"x", usernames=["cid"], decide=never)
    assert other == MembershipResult(Outcome.REUSED)
    assert await versions(database) == {"ann": 2, "bob": 1, "cid": 1, "dan": 0}


async def test_repeat_is_known_also_after_the_deletion(members):
    first = await add(members, "cid")
    await change(members, MembershipAction.CONVERSATION_DELETED, request_id="r2")
    assert (await add(members, "cid")).entries == first.entries


async def test_request_ids_are_shared_with_messages_and_separate_for_each_sender(members, database):
    await send(database, "g1", "ann", request_id="r1")
    assert (await add(members, "cid")).outcome == Outcome.REUSED
    assert (await add(members, "cid", caller="bob")).outcome == Outcome.STORED


# At the same time


async def test_two_who_add_the_same_user_make_one_entry(members, database):
    def add_if_new(standing: MembershipView) -> list[MembershipChange]:
        is_new = standing.roles["cid"] == Role.GONE
        return [MembershipChange(MembershipAction.ADDED, ("cid",), Role.MEMBER)] if is_new else []

    results = await asyncio.gather(
        *(
            members.change("g1", "ann", request_id=f"r{nth}", request_hash=b"h", usernames=["cid"], decide=add_if_new)
            for nth in range(6)
        )
    )
    assert sorted(len(result.entries) for result in results) == [0, 0, 0, 0, 0, 1]
    assert await names_in(members) == ["ann", "bob", "cid"]
    assert (await Conversations(database).get("g1", "ann")).member_count == 3
    assert (await versions(database))["cid"] == 1


async def test_one_who_waited_for_the_lock_decides_from_what_the_other_committed(members, database):
    async with held(database, LOCK) as other:
        adding = asyncio.create_task(standing_of(members, "bob", "ann"))
        await wait_until_one_waits(database)
        await other.execute("UPDATE members SET role = 0 WHERE username = 'bob'")
        await other.execute("UPDATE conversations SET last_seq = 7, member_count = 1 WHERE conversation_id = 'g1'")
    standing = await adding
    assert (standing.caller_role, standing.member_count) == (Role.GONE, 1)


async def test_one_who_waited_for_the_lock_finds_the_repeat_that_was_committed(members, database):
    async with held(database, LOCK) as other:
        adding = asyncio.create_task(add(members, "cid", request_hash=b"hash of hello"))
        await wait_until_one_waits(database)
        await send(other, "g1", "ann", request_id="r1")
    result = await adding
    assert (result.outcome, result.entries[0].seq) == (Outcome.DUPLICATE, 1)
    assert await names_in(members) == ["ann", "bob"]


async def test_removal_that_waited_for_a_message_comes_after_it(members, database):
    async with held(database, LOCK) as other:
        removing = asyncio.create_task(remove(members, "bob"))
        await wait_until_one_waits(database)
        assert (await send(other, "g1", "bob")).seq == 1
    assert (await removing).entries[0].seq == 2
    assert (await row_of(database, "bob"))["intervals"] == "{[1,3)}"


async def test_change_tries_again_when_the_lock_was_held_for_longer_than_one_wait(members, database):
    async with held(database, LOCK):
        adding = asyncio.create_task(add(members, "cid"))
        await wait_until_one_waits(database)
        await wait_for(lambda: nobody_waits(database), limit_seconds=3, what="the end of the first wait")
        assert not adding.done()
    assert (await adding).outcome == Outcome.STORED


async def test_changes_and_sends_at_once_leave_a_dense_log(members, database):
    async def send_until_stored(nth: int) -> None:
        while True:
            try:
                await send(database, "g1", "ann", request_id=f"m{nth}")
            except LockTimeout:
                continue
            return

    await asyncio.gather(
        *(add(members, name, request_id=f"r{nth}") for nth, name in enumerate(("cid", "dan", "cid", "dan"))),
        *(send_until_stored(nth) for nth in range(12)),
    )
    seqs = [row[0] for row in await database.fetch("SELECT seq FROM messages ORDER BY create_time, seq")]
    assert seqs == list(range(1, 17))
    numbers = [row[0] for row in await database.fetch("SELECT message_number FROM messages ORDER BY seq")]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 12


# Users who are not there


async def test_first_missing_user_is_named_and_nobody_is_added(members, database):
    await delete_user(database, "dan")
    with pytest.raises(UserAbsent) as caught:
        await add(members, "cid", "dan", "nobody")
    assert caught.value.username == "dan"
    assert await names_in(members) == ["ann", "bob"]
    assert await database.fetchval("SELECT count(*) FROM messages") == 0
    assert (await add(members, "cid")).entries[0].seq == 1


async def test_user_whose_deletion_runs_is_not_added(members, database):
    async with held(database, "UPDATE users SET delete_time = clock_timestamp() WHERE username = 'cid'"):
        adding = asyncio.create_task(add(members, "cid"))
        await wait_until_one_waits(database)
    with pytest.raises(UserAbsent):
        await adding
    assert await names_in(members) == ["ann", "bob"]


async def test_deletion_waits_for_an_addition_that_runs(members, database):
    async with held(database, LOCK):
        adding = asyncio.create_task(add(members, "cid"))
        await wait_until_one_waits(database)
    await adding
    await delete_user(database, "cid")
    assert await Conversations(database).list_group_ids("cid") == ["g1"]


async def test_deleted_user_can_be_removed_and_shows_no_profile(members, database):
    await database.execute("UPDATE users SET display_name = 'Bob' WHERE username = 'bob'")
    assert (await members.list_page("g1", "ann", after="ann", limit=1))[0].display_name == "Bob"
    await delete_user(database, "bob")
    assert (await members.list_page("g1", "ann", after="ann", limit=1))[0].display_name == ""
    assert (await remove(members, "bob")).moved == ("bob",)


# Lists


async def test_pages_of_members_together_are_the_list(members, database):
    await add(members, "cid", "dan")
    before = database.statement_count
    first = await members.list_page("g1", "bob", after="", limit=3)
    assert database.statement_count - before == 1
    assert [member.username for member in first] == ["ann", "bob", "cid"]
    rest = await members.list_page("g1", "bob", after="cid", limit=3)
    assert [member.username for member in rest] == ["dan"]
    assert await members.list_page("g1", "bob", after="dan", limit=3) == []


async def test_member_is_found_by_members_only(members):
    found = await members.find_member("g1", "bob", "ann")
    assert found is not None
    assert found.role == Role.OWNER
    assert await members.find_member("g1", "cid", "ann") is None
    assert await members.find_member("g1", "ann", "cid") is None
