import asyncio
from datetime import timedelta

import pytest

from storage.errors import Absent, LockTimeout, UserAbsent
from storage.postgres.connections.database import Database
from storage.postgres.conversations.conversations import _GET, Conversations
from storage.postgres.conversations.members import Members
from storage.records import ConversationKind, EntryKind, MembershipView, Outcome, Role
from tests.support.logs import add_users, delete_user, send


@pytest.fixture
async def conversations(database: Database) -> Conversations:
    await add_users(database, "ann", "bob", "cid", "dan")
    return Conversations(database)


async def make_group(
    conversations: Conversations,
    conversation_id: str = "g1",
    creator: str = "ann",
    others: tuple[str, ...] = ("bob",),
    request: tuple[str, bytes] | tuple[None, None] = (None, None),
    title: str = "",
):
    return await conversations.create_group(
        conversation_id,
        creator,
        others=others,
        title=title,
        history_visible=True,
        request_id=request[0],
        request_hash=request[1],
    )


async def set_last_times(database: Database, *conversation_ids: str, same: bool = False) -> None:
    """The first one named is the most recently active."""
    for age, conversation_id in enumerate(conversation_ids):
        await database.execute(
            "UPDATE conversations SET last_time = timestamptz '2030-01-01' - $2::interval WHERE conversation_id = $1",
            conversation_id,
            timedelta(seconds=0 if same else age),
        )


async def listed(conversations: Conversations, username: str, limit: int = 50) -> list[str]:
    found, _ = await conversations.list_page(username, after=None, limit=limit)
    return [conversation.conversation_id for conversation in found]


# Making


async def test_group_has_its_owner_and_members_and_no_entry(conversations, database):
    await make_group(conversations, others=("bob", "cid"), title="Tea")
    seen = await conversations.get("g1", "ann")
    assert (seen.kind, seen.title, seen.member_count) == (ConversationKind.GROUP, "Tea", 3)
    assert (seen.first_seq, seen.last_seq, seen.read_seq, seen.unread_count) == (1, 0, 0, 0)
    assert seen.last_entry is None
    members = await Members(database).list_page("g1", "bob", after="", limit=10)
    assert [(member.username, member.role) for member in members] == [
        ("ann", Role.OWNER),
        ("bob", Role.MEMBER),
        ("cid", Role.MEMBER),
    ]
    assert {member.join_time for member in members} == {seen.create_time}
    assert (await send(database, "g1", "bob")).seq == 1


async def test_first_missing_user_is_named_and_nothing_is_made(conversations, database):
    await delete_user(database, "cid")
    for others in (("bob", "cid", "nobody"), ("cid",)):
        with pytest.raises(UserAbsent) as caught:
            await make_group(conversations, others=others, request=("r1", b"h"))
        assert caught.value.username == "cid"
    assert await database.fetchval("SELECT count(*) FROM conversations") == 0
    assert await database.fetchval("SELECT max(membership_version) FROM users") == 0


async def test_repeat_gives_the_first_group_and_another_content_is_refused(conversations):
    assert (await make_group(conversations, "g1", request=("r1", b"h"))).outcome == Outcome.STORED
    repeat = await make_group(conversations, "g2", request=("r1", b"h"))
    assert (repeat.outcome, repeat.conversation_id) == (Outcome.DUPLICATE, "g1")
    assert (await make_group(conversations, "g3", request=("r1", b"other"))).outcome == Outcome.REUSED
    assert (await make_group(conversations, "g4", "bob", (), request=("r1", b"h"))).outcome == Outcome.STORED
    assert await listed(conversations, "ann") == ["g1"]


async def test_one_group_is_made_of_repeats_at_once(conversations):
    made = await asyncio.gather(
        *(make_group(conversations, f"g{nth}", others=("bob", "cid"), request=("r1", b"h")) for nth in range(8))
    )
    assert sorted(creation.outcome for creation in made) == [Outcome.STORED] + 7 * [Outcome.DUPLICATE]
    assert len({creation.conversation_id for creation in made}) == 1


async def test_groups_of_the_same_users_made_at_once_do_not_wait_for_each_other_in_a_circle(conversations, database):
    names = ("ann", "bob", "cid", "dan")
    await asyncio.gather(
        *(
            make_group(
                conversations, f"g{nth}", names[nth % 4], tuple(reversed(names[: nth % 4] + names[nth % 4 + 1 :]))
            )
            for nth in range(12)
        )
    )
    assert await database.fetch("SELECT DISTINCT membership_version FROM users") == [(12,)]


async def test_direct_one_is_made_once_by_whoever_is_first(conversations, database):
    assert await asyncio.gather(*(conversations.ensure_direct("ann:bob") for _ in range(6))) == [None] * 6
    seen = await conversations.get("ann:bob", "bob")
    assert (seen.kind, seen.role, seen.member_count) == (ConversationKind.DIRECT, Role.MEMBER, 2)
    assert await database.fetchval("SELECT membership_version FROM users WHERE username = 'ann'") == 1


async def test_direct_one_needs_both_users(conversations, database):
    await delete_user(database, "bob")
    assert await conversations.ensure_direct("ann:bob") == "bob"
    assert await conversations.ensure_direct("aaa:bbb") == "aaa"
    assert await database.fetchval("SELECT count(*) FROM conversations") == 0


async def test_direct_one_that_is_there_stays_when_a_user_is_deleted(conversations, database):
    await conversations.ensure_direct("ann:bob")
    await delete_user(database, "bob")
    assert await conversations.ensure_direct("ann:bob") is None


async def test_notes_to_oneself_have_one_member(conversations, database):
    assert await conversations.ensure_direct("ann:ann") is None
    await send(database, "ann:ann", "ann")
    seen = await conversations.get("ann:ann", "ann")
    assert (seen.member_count, seen.unread_count) == (1, 0)


# Reading


async def test_get_is_one_statement_and_shows_the_last_entry(conversations, database):
    await make_group(conversations)
    await send(database, "g1", "ann", "one")
    await send(database, "g1", "bob", "two")
    before = database.statement_count
    seen = await conversations.get("g1", "ann")
    assert database.statement_count - before == 1
    assert seen.last_entry is not None
    assert (seen.last_entry.seq, seen.last_entry.text, seen.last_entry.kind) == (2, "two", EntryKind.MESSAGE)
    assert seen.last_entry.create_time == seen.last_time
    assert seen.unread_count == 1


@pytest.mark.parametrize(("conversation_id", "username"), [("g1", "cid"), ("g2", "ann"), ("ann:bob", "ann")])
async def test_what_is_not_there_for_the_user_is_absent(conversations, conversation_id, username):
    await make_group(conversations)
    with pytest.raises(Absent):
        await conversations.get(conversation_id, username)


async def test_list_of_nothing_is_empty(conversations, database):
    before = database.statement_count
    assert await conversations.list_page("ann", after=None, limit=10) == ([], False)
    assert database.statement_count - before == 1


async def test_list_shows_newest_activity_first_in_one_statement(conversations, database):
    for conversation_id in ("g1", "g2", "g3"):
        await make_group(conversations, conversation_id)
    await send(database, "g1", "bob", "one")
    await send(database, "g3", "bob", "three")
    before = database.statement_count
    found, has_more = await conversations.list_page("ann", after=None, limit=3)
    assert database.statement_count - before == 1
    assert [conversation.conversation_id for conversation in found] == ["g3", "g1", "g2"]
    assert [conversation.unread_count for conversation in found] == [1, 1, 0]
    assert [entry.text if (entry := conversation.last_entry) else None for conversation in found] == [
        "three",
        "one",
        None,
    ]
    assert not has_more
    assert found[1] == await conversations.get("g1", "ann")


@pytest.mark.parametrize("same", [True, False])
async def test_pages_together_are_the_list(conversations, database, same):
    names = ["g3", "g1", "g5", "g4", "g2"]
    for conversation_id in names:
        await make_group(conversations, conversation_id)
    await set_last_times(database, *names, same=same)
    seen: list[str] = []
    after = None
    for _ in range(3):
        found, has_more = await conversations.list_page("ann", after=after, limit=2)
        seen += [conversation.conversation_id for conversation in found]
        after = (found[-1].last_time, found[-1].conversation_id)
    assert not has_more
    assert seen == (sorted(names) if same else names)
    assert await conversations.list_page("ann", after=after, limit=2) == ([], False)


async def test_page_ends_before_it_is_larger_than_a_frame(conversations, database):
    for nth in range(30):
        await make_group(conversations, f"g{nth:02}")
        await send(database, f"g{nth:02}", "ann", "x" * 60_000, size_bytes=60_100)
    seen: list[str] = []
    after, has_more = None, True
    while has_more:
        found, has_more = await conversations.list_page("ann", after=after, limit=200)
        assert sum(len(conversation.last_entry.text) for conversation in found) < 1024 * 1024
        seen += [conversation.conversation_id for conversation in found]
        after = (found[-1].last_time, found[-1].conversation_id)
    assert seen == [f"g{nth:02}" for nth in reversed(range(30))]


async def test_direct_one_is_listed_once_it_has_an_entry(conversations, database):
    await conversations.ensure_direct("ann:bob")
    assert await listed(conversations, "bob") == []
    await send(database, "ann:bob", "ann")
    assert await listed(conversations, "bob") == ["ann:bob"]


# Hiding


async def test_hidden_direct_one_comes_back_with_what_is_written_later(conversations, database):
    await conversations.ensure_direct("ann:bob")
    for text in ("one", "two"):
        await send(database, "ann:bob", "ann", text)
    await conversations.hide("ann:bob", "bob")
    hidden = await conversations.get("ann:bob", "bob")
    assert (hidden.read_seq, hidden.unread_count, hidden.last_entry) == (2, 0, None)
    assert await listed(conversations, "bob") == []
    assert await listed(conversations, "ann") == ["ann:bob"]
    assert (await send(database, "ann:bob", "ann", "three")).seq == 3
    back = await conversations.get("ann:bob", "bob")
    assert (back.unread_count, back.last_entry.text) == (1, "three")
    assert await listed(conversations, "bob") == ["ann:bob"]
    assert (
        await database.fetchval(
            "SELECT visible::text FROM members WHERE username = 'bob' AND conversation_id = 'ann:bob'"
        )
        == "{[3,)}"
    )


async def test_hiding_twice_and_hiding_what_is_unread_of_oneself(conversations, database):
    await conversations.ensure_direct("ann:bob")
    await send(database, "ann:bob", "ann", "one")
    await conversations.hide("ann:bob", "ann")
    await conversations.hide("ann:bob", "ann")
    await send(database, "ann:bob", "bob", "two")
    await send(database, "ann:bob", "ann", "three")
    assert (await conversations.get("ann:bob", "ann")).unread_count == 1


async def test_last_entry_of_a_hidden_one_is_found_without_reading_what_is_hidden(conversations, database):
    await conversations.ensure_direct("ann:bob")
    for _ in range(50):
        await send(database, "ann:bob", "ann")
    await conversations.hide("ann:bob", "bob")
    plan = "\n".join(row[0] for row in await database.fetch(f"EXPLAIN (ANALYZE, COSTS OFF) {_GET}", "ann:bob", "bob"))
    assert "Rows Removed by Filter: 5" not in plan


async def test_hiding_is_for_members(conversations):
    await conversations.ensure_direct("ann:bob")
    with pytest.raises(Absent):
        await conversations.hide("ann:bob", "cid")
    with pytest.raises(Absent):
        await conversations.hide("ann:cid", "cid")


# Changing


class RefusedError(Exception):
    """What a check raises."""


def allow(standing: MembershipView) -> None:
    assert standing.caller_role == Role.OWNER


async def test_update_changes_what_is_given(conversations):
    await make_group(conversations, title="Tea")
    await conversations.update("g1", "ann", title="Coffee", history_visible=None, check=allow)
    assert ((seen := await conversations.get("g1", "ann")).title, seen.history_visible) == ("Coffee", True)
    await conversations.update("g1", "ann", title=None, history_visible=False, check=allow)
    assert ((seen := await conversations.get("g1", "ann")).title, seen.history_visible) == ("Coffee", False)
    await conversations.update("g1", "ann", title="", history_visible=None, check=allow)
    assert (await conversations.get("g1", "ann")).title == ""


async def test_update_that_is_refused_changes_nothing(conversations):
    await make_group(conversations, title="Tea")

    def refuse(standing: MembershipView) -> None:
        raise RefusedError

    with pytest.raises(RefusedError):
        await conversations.update("g1", "ann", title="Coffee", history_visible=None, check=refuse)
    with pytest.raises(Absent):
        await conversations.update("g2", "ann", title="Coffee", history_visible=None, check=allow)
    assert (await conversations.get("g1", "ann")).title == "Tea"


async def test_write_waits_for_a_lock_and_gives_up_after_three_seconds(conversations, database):
    await make_group(conversations, title="Tea")
    connection = await database.connect()
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT 1 FROM conversations FOR NO KEY UPDATE")
        clock = asyncio.get_running_loop().time
        start = clock()
        with pytest.raises(LockTimeout):
            await conversations.update("g1", "ann", title="Coffee", history_visible=None, check=allow)
        assert 2 < clock() - start < 4.5
        await transaction.rollback()
    finally:
        await connection.close()
    await conversations.update("g1", "ann", title="Coffee", history_visible=None, check=allow)


# Who shares what


async def test_those_who_share_a_conversation(conversations, database):
    await make_group(conversations, "g1", others=("bob",))
    await make_group(conversations, "g2", "cid", ("dan",))
    asked = ["ann", "bob", "cid", "dan", "nobody"]
    assert await conversations.shares_conversation("ann", asked) == {"ann", "bob"}
    assert await conversations.shares_conversation("dan", asked) == {"cid", "dan"}
    assert await conversations.shares_conversation("ann", []) == set()
    assert await conversations.shares_conversation("ann", ["cid"]) == set()
    await database.execute("UPDATE members SET role = 0 WHERE username = 'bob'")
    assert await conversations.shares_conversation("ann", asked) == {"ann"}
    await conversations.ensure_direct("ann:dan")
    assert await conversations.list_group_ids("ann") == ["g1"]
    assert await conversations.list_group_ids("bob") == []
