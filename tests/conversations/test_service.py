import asyncio
from dataclasses import dataclass, field

import pytest

from service.conversations.service import ConversationService
from service.domain.errors import (
    ConversationNotFound,
    CursorBeyondEnd,
    DirectConversation,
    LastOwner,
    MemberNotFound,
    ParleyError,
    RequestIdReused,
    RoleTooLow,
    TooManyMembers,
    UserNotFound,
)
from service.domain.hashes import RequestHasher
from service.domain.page_tokens import from_conversations_token, from_members_token
from service.domain.permissions import Action, may
from storage.postgres.connections.database import Database
from storage.postgres.conversations.conversations import Conversations
from storage.postgres.conversations.members import Members
from storage.records import Entry, Outcome, Role
from tests.support.logs import add_users, delete_user, send

MAX_MEMBERS = 6


@dataclass
class Announced:
    """What the service told after its commits, in order."""

    entries: list[Entry] = field(default_factory=list)
    moved: list[list[str]] = field(default_factory=list)

    def clear(self) -> None:
        self.entries.clear()
        self.moved.clear()


@pytest.fixture
def announced() -> Announced:
    return Announced()


@pytest.fixture
async def service(database: Database, announced: Announced) -> ConversationService:
    await add_users(database, "ann", "bob", "cid", "dan", "eve", "fay", "gus")
    return ConversationService(
        Conversations(database),
        Members(database),
        RequestHasher(b"key"),
        max_members=MAX_MEMBERS,
        publish_entries=announced.entries.extend,
        publish_memberships=lambda usernames: announced.moved.append(list(usernames)),
        on_read=lambda *_: None,
    )


async def create(service: ConversationService, *members: str, request_id: str = "", title: str = "Tea") -> str:
    created = await service.create(
        "ann", title=title, members=sorted(members), history_visible=True, request_id=request_id
    )
    return created.conversation.conversation_id


@pytest.fixture
async def group(service: ConversationService, announced: Announced) -> str:
    """ann OWNER, bob ADMIN, cid MEMBER, dan READER; what was announced so far is forgotten."""
    conversation_id = await create(service, "bob", "cid", "dan")
    await service.update_member("ann", conversation_id, "bob", role=Role.ADMIN, request_id="")
    await service.update_member("ann", conversation_id, "dan", role=Role.READER, request_id="")
    announced.clear()
    return conversation_id


async def roles(service: ConversationService, caller: str, conversation_id: str) -> dict[str, Role]:
    found, _ = await service.list_members(caller, conversation_id, page_size=500, after="")
    return {member.username: member.role for member in found}


# Making groups


async def test_creator_may_name_oneself_and_is_owner_once(service, announced):
    created = await service.create("bob", title="", members=["ann", "bob"], history_visible=False, request_id="")
    seen = created.conversation
    assert (seen.role, seen.member_count, seen.history_visible, seen.title) == (Role.OWNER, 2, False, "")
    assert not created.is_deduplicated
    assert ":" not in seen.conversation_id
    assert announced == Announced([], [["ann", "bob"]])


async def test_group_of_one(service):
    created = await service.create("bob", title="", members=[], history_visible=True, request_id="")
    assert created.conversation.member_count == 1


async def test_repeat_of_creation_gives_the_same_group_and_is_announced_once(service, announced):
    first = await service.create("ann", title="Tea", members=["bob"], history_visible=True, request_id="r1")
    repeat = await service.create("ann", title="Tea", members=["ann", "bob"], history_visible=True, request_id="r1")
    assert repeat.is_deduplicated
    assert repeat.conversation == first.conversation
    assert announced.moved == [["ann", "bob"]]
    for other in (
        {"title": "Coffee", "members": ["bob"], "history_visible": True},
        {"title": "Tea", "members": ["bob", "cid"], "history_visible": True},
        {"title": "Tea", "members": ["bob"], "history_visible": False},
    ):
        with pytest.raises(RequestIdReused):
            await service.create("ann", **other, request_id="r1")


async def test_creation_without_request_id_makes_another_group(service):
    assert await create(service, "bob") != await create(service, "bob")


async def test_repeat_of_the_creation_of_a_deleted_group_is_not_found(service):
    await service.delete("ann", await create(service, request_id="r1"))
    with pytest.raises(ConversationNotFound):
        await create(service, request_id="r1")


async def test_creation_names_the_first_user_who_is_not_there(service, announced):
    with pytest.raises(UserNotFound) as caught:
        await create(service, "bob", "zoe", "nobody")
    assert caught.value.metadata == {"username": "nobody"}
    assert announced == Announced()


async def test_creation_above_the_limit_is_refused(service):
    with pytest.raises(TooManyMembers):
        await create(service, "bob", "cid", "dan", "eve", "fay", "gus")
    await create(service, "bob", "cid", "dan", "eve", "fay")


# Roles: every verb by every role


async def attempt(service: ConversationService, verb: Action, caller: str, group: str) -> None:
    match verb:
        case Action.READ:
            await service.get(caller, group)
        case Action.MARK_READ:
            await service.mark_read(caller, group, 1)
        case Action.LEAVE:
            await service.remove_members(caller, group, [caller], request_id="")
        case Action.UPDATE:
            await service.update(caller, group, title="Coffee", history_visible=None)
        case Action.ADD_MEMBERS:
            await service.add_members(caller, group, ["eve"], role=Role.READER, request_id="")
        case Action.REMOVE_MEMBERS:
            await service.remove_members(caller, group, ["fay"], request_id="")
        case Action.UPDATE_MEMBER:
            await service.update_member(caller, group, "fay", role=Role.MEMBER, request_id="")
        case Action.DELETE:
            await service.delete(caller, group)
        case Action.SEND:
            raise AssertionError


CALLERS = {"ann": Role.OWNER, "bob": Role.ADMIN, "cid": Role.MEMBER, "dan": Role.READER, "gus": Role.GONE}


@pytest.mark.parametrize("verb", [action for action in Action if action != Action.SEND])
@pytest.mark.parametrize("caller", CALLERS)
async def test_each_verb_is_for_the_roles_of_the_table(service, group, announced, verb, caller):
    await service.add_members("ann", group, ["fay"], role=Role.READER, request_id="")
    if (caller, verb) == ("ann", Action.LEAVE):
        await service.update_member("ann", group, "bob", role=Role.OWNER, request_id="")
    before = await service.get("ann", group)
    announced.clear()
    if may(CALLERS[caller], verb):
        await attempt(service, verb, caller, group)
        return
    with pytest.raises(ConversationNotFound if CALLERS[caller] == Role.GONE else RoleTooLow):
        await attempt(service, verb, caller, group)
    assert await service.get("ann", group) == before
    assert announced == Announced()


@pytest.mark.parametrize("caller", CALLERS)
async def test_storing_function_agrees_with_the_table(service, group, database, caller):
    sent = await send(database, group, caller)
    assert (sent.outcome == Outcome.STORED) == may(CALLERS[caller], Action.SEND)


@pytest.mark.parametrize("was_member", [True, False])
async def test_strangers_and_former_members_find_nothing(service, group, was_member):
    if was_member:
        await service.add_members("ann", group, ["eve"], role=Role.OWNER, request_id="")
        await service.remove_members("eve", group, ["eve"], request_id="")
    for attempted in (
        service.get("eve", group),
        service.update("eve", group, title="", history_visible=None),
        service.delete("eve", group),
        service.add_members("eve", group, ["nobody"], role=Role.MEMBER, request_id=""),
        service.remove_members("eve", group, ["eve"], request_id=""),
        service.remove_members("eve", group, ["nobody"], request_id=""),
        service.update_member("eve", group, "bob", role=Role.MEMBER, request_id=""),
        service.list_members("eve", group, page_size=10, after=""),
        service.mark_read("eve", group, 10_000),
    ):
        with pytest.raises(ConversationNotFound) as caught:
            await attempted
        assert caught.value.message == ConversationNotFound(group).message


# Changing who is in


async def test_added_members_are_announced_with_their_entry(service, group, announced):
    changed = await service.add_members("bob", group, ["cid", "eve", "fay"], role=Role.ADMIN, request_id="r1")
    assert changed.entry is not None
    assert changed.entry.extras == {"membership": {"action": 1, "members": ["eve", "fay"], "role": 3}}
    assert announced == Announced([changed.entry], [["eve", "fay"]])
    assert (await roles(service, "eve", group))["cid"] == Role.MEMBER


async def test_adding_those_who_are_in_writes_and_announces_nothing(service, group, announced):
    changed = await service.add_members("ann", group, ["bob", "cid"], role=Role.READER, request_id="r1")
    assert (changed.entry, changed.is_deduplicated) == (None, False)
    assert announced == Announced()


async def test_repeats_of_changes_get_the_first_entry_and_are_announced_once(service, group, announced):
    for _ in range(2):
        added = await service.add_members("ann", group, ["eve"], role=Role.MEMBER, request_id="r1")
    for _ in range(2):
        member, changed = await service.update_member("ann", group, "eve", role=Role.ADMIN, request_id="r2")
    for _ in range(2):
        removed = await service.remove_members("ann", group, ["eve"], request_id="r3")
    assert added.is_deduplicated
    assert changed.is_deduplicated
    assert removed.is_deduplicated
    assert member is not None
    assert member.role == Role.ADMIN
    assert announced.entries == [added.entry, changed.entry, removed.entry]


async def test_request_id_with_another_content_is_refused(service, group):
    await service.add_members("ann", group, ["eve"], role=Role.MEMBER, request_id="r1")
    for attempted in (
        service.add_members("ann", group, ["eve"], role=Role.ADMIN, request_id="r1"),
        service.add_members("ann", group, ["fay"], role=Role.MEMBER, request_id="r1"),
        service.remove_members("ann", group, ["eve"], request_id="r1"),
        service.update_member("ann", group, "eve", role=Role.MEMBER, request_id="r1"),
    ):
        with pytest.raises(RequestIdReused):
            await attempted
    await service.update_member("ann", group, "eve", role=Role.ADMIN, request_id="r2")
    with pytest.raises(RequestIdReused):
        await service.update_member("ann", group, "eve", role=Role.READER, request_id="r2")


async def test_one_who_was_removed_after_an_unanswered_request_still_learns_of_it(service, group):
    first = await service.add_members("bob", group, ["eve"], role=Role.MEMBER, request_id="r1")
    _, changed = await service.update_member("bob", group, "eve", role=Role.READER, request_id="r2")
    await service.remove_members("ann", group, ["bob"], request_id="")
    assert (await service.add_members("bob", group, ["eve"], role=Role.MEMBER, request_id="r1")).entry == first.entry
    assert await service.update_member("bob", group, "eve", role=Role.READER, request_id="r2") == (
        None,
        type(changed)(changed.entry, is_deduplicated=True),
    )


async def test_addition_of_a_user_who_is_not_there_adds_nobody(service, group, announced, database):
    await delete_user(database, "eve")
    with pytest.raises(UserNotFound) as caught:
        await service.add_members("ann", group, ["eve", "nobody"], role=Role.MEMBER, request_id="")
    assert caught.value.metadata == {"username": "eve"}
    assert set(await roles(service, "ann", group)) == {"ann", "bob", "cid", "dan"}
    assert announced == Announced()


async def test_addition_above_the_limit_adds_nobody(service, group):
    with pytest.raises(TooManyMembers):
        await service.add_members("ann", group, ["eve", "fay", "gus"], role=Role.MEMBER, request_id="")
    await service.add_members("ann", group, ["bob", "eve", "fay"], role=Role.MEMBER, request_id="")
    await service.add_members("ann", group, ["bob", "eve", "fay"], role=Role.MEMBER, request_id="")
    with pytest.raises(TooManyMembers):
        await service.add_members("ann", group, ["gus"], role=Role.MEMBER, request_id="")


async def test_additions_at_once_stay_below_the_limit(service, group):
    results = await asyncio.gather(
        *(service.add_members("ann", group, [name], role=Role.MEMBER, request_id="") for name in ("eve", "fay", "gus")),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["Changed", "Changed", "TooManyMembers"]
    assert (await service.get("ann", group)).member_count == MAX_MEMBERS


async def test_removal_of_one_who_is_not_in_removes_nobody(service, group):
    with pytest.raises(MemberNotFound) as caught:
        await service.remove_members("ann", group, ["bob", "eve"], request_id="")
    assert caught.value.metadata == {"username": "eve"}
    assert len(await roles(service, "ann", group)) == 4


async def test_last_owner_leaves_when_somebody_else_is_owner_or_nobody_is_left(service, group, announced):
    with pytest.raises(LastOwner):
        await service.remove_members("ann", group, ["ann"], request_id="")
    with pytest.raises(LastOwner):
        await service.update_member("ann", group, "ann", role=Role.ADMIN, request_id="")
    await service.update_member("ann", group, "cid", role=Role.OWNER, request_id="")
    await service.remove_members("ann", group, ["ann"], request_id="")
    await service.remove_members("cid", group, ["bob", "dan"], request_id="")
    announced.clear()
    await service.remove_members("cid", group, ["cid"], request_id="")
    assert announced.moved == [["cid"]]


async def test_of_two_owners_who_leave_at_once_one_stays(service, group):
    await service.update_member("ann", group, "bob", role=Role.OWNER, request_id="")
    results = await asyncio.gather(
        service.remove_members("ann", group, ["ann"], request_id=""),
        service.remove_members("bob", group, ["bob"], request_id=""),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["Changed", "LastOwner"]


async def test_role_that_a_member_has_already_writes_nothing(service, group, announced):
    member, changed = await service.update_member("ann", group, "bob", role=Role.ADMIN, request_id="")
    assert (member.role, changed.entry) == (Role.ADMIN, None)
    assert announced == Announced()


async def test_change_of_role_is_an_entry(service, group, announced):
    member, changed = await service.update_member("bob", group, "dan", role=Role.ADMIN, request_id="")
    assert (member.username, member.role) == ("dan", Role.ADMIN)
    assert changed.entry.extras == {"membership": {"action": 3, "members": ["dan"], "role": 3}}
    assert announced == Announced([changed.entry], [])


# Direct conversations


@pytest.mark.parametrize("caller", ["ann", "cid"])
async def test_direct_one_has_no_members_or_title_to_change(service, database, caller):
    await Conversations(database).ensure_direct("ann:bob")
    for attempted in (
        service.update(caller, "ann:bob", title="Tea", history_visible=None),
        service.add_members(caller, "ann:bob", ["dan"], role=Role.MEMBER, request_id=""),
        service.remove_members(caller, "ann:bob", ["bob"], request_id=""),
        service.remove_members(caller, "ann:bob", [caller], request_id=""),
        service.update_member(caller, "ann:bob", "bob", role=Role.ADMIN, request_id=""),
    ):
        with pytest.raises(DirectConversation if caller == "ann" else ConversationNotFound):
            await attempted


async def test_direct_one_that_nobody_wrote_to_is_not_found(service):
    with pytest.raises(ConversationNotFound):
        await service.add_members("ann", "ann:bob", ["dan"], role=Role.MEMBER, request_id="")
    with pytest.raises(ConversationNotFound):
        await service.delete("ann", "ann:bob")


async def test_deleting_a_direct_one_hides_it_and_can_be_repeated(service, announced, database):
    await Conversations(database).ensure_direct("ann:bob")
    await send(database, "ann:bob", "bob")
    announced.clear()
    for _ in range(2):
        await service.delete("ann", "ann:bob")
    assert announced == Announced([], [["ann"], ["ann"]])
    assert await service.list_page("ann", page_size=10, after="") == ([], "")
    assert (await service.get("ann", "ann:bob")).unread_count == 0
    assert (await service.get("bob", "ann:bob")).last_entry is not None
    with pytest.raises(ConversationNotFound):
        await service.delete("cid", "ann:bob")


# Deleting groups


async def test_deleted_group_is_gone_for_all_and_its_last_entry_is_announced(service, group, announced):
    await service.delete("ann", group)
    (entry,) = announced.entries
    assert entry.extras == {"membership": {"action": 4, "members": [], "role": 0}}
    assert announced.moved == [["ann", "bob", "cid", "dan"]]
    for caller in ("ann", "bob"):
        for attempted in (service.get(caller, group), service.delete(caller, group)):
            with pytest.raises(ConversationNotFound):
                await attempted
    assert await service.list_page("ann", page_size=10, after="") == ([], "")


# Leaving all


async def test_end_of_an_account_leaves_every_group_to_an_owner(service, announced, database):
    alone = await create(service)
    shared = await create(service, "bob", "cid", "dan")
    await service.update_member("ann", shared, "dan", role=Role.ADMIN, request_id="")
    co_owned = await create(service, "bob")
    await service.update_member("ann", co_owned, "bob", role=Role.OWNER, request_id="")
    left = await create(service, "bob")
    await service.update_member("ann", left, "bob", role=Role.OWNER, request_id="")
    await service.remove_members("ann", left, ["ann"], request_id="")
    await Conversations(database).ensure_direct("ann:bob")
    await send(database, "ann:bob", "ann")
    await delete_user(database, "ann")
    announced.clear()

    await service.leave_all("ann")

    told = [(entry.conversation_id, entry.extras["membership"]["members"]) for entry in announced.entries]
    assert sorted(told) == sorted([(alone, ["ann"]), (shared, ["dan"]), (shared, ["ann"]), (co_owned, ["ann"])])
    in_shared = [entry for entry in announced.entries if entry.conversation_id == shared]
    assert [entry.extras["membership"]["action"] for entry in in_shared] == [3, 2]
    assert [entry.sender for entry in in_shared] == ["ann", "ann"]
    assert await roles(service, "dan", shared) == {"bob": Role.MEMBER, "cid": Role.MEMBER, "dan": Role.OWNER}
    assert (await service.get("bob", "ann:bob")).member_count == 2
    announced.clear()
    await service.leave_all("ann")
    assert announced == Announced()


async def test_successor_is_the_one_who_joined_first_of_the_highest_role(service):
    conversation_id = await create(service, "dan")
    await service.add_members("ann", conversation_id, ["cid"], role=Role.MEMBER, request_id="")
    await service.add_members("ann", conversation_id, ["bob"], role=Role.MEMBER, request_id="")
    await service.leave_all("ann")
    assert await roles(service, "dan", conversation_id) == {
        "dan": Role.OWNER,
        "cid": Role.MEMBER,
        "bob": Role.MEMBER,
    }


# Reading


async def test_mark_read_says_where_and_how_many_are_left(service, group, database):
    for _ in range(3):
        await send(database, group, "bob")
    position = await service.mark_read("ann", group, 4)
    assert (position.read_seq, position.unread_count) == (4, 1)
    assert (await service.mark_read("ann", group, 1)).read_seq == 4
    with pytest.raises(CursorBeyondEnd) as caught:
        await service.mark_read("ann", group, 6)
    assert caught.value.metadata["last_seq"] == "5"
    assert (await service.mark_read("ann", group, 5)).unread_count == 0


async def test_update_gives_the_conversation_as_it_is_then(service, group):
    seen = await service.update("bob", group, title="Coffee", history_visible=False)
    assert (seen.title, seen.history_visible, seen.role) == ("Coffee", False, Role.ADMIN)
    assert await service.update("bob", group, title=None, history_visible=None) == seen


async def test_pages_by_token_together_are_the_lists(service, group):
    ids = {group} | {await create(service) for _ in range(4)}
    seen: list[str] = []
    token = ""
    for _ in range(3):
        after = from_conversations_token(token)
        found, token = await service.list_page("ann", page_size=2, after=after)
        seen += [conversation.conversation_id for conversation in found]
    assert token == ""
    assert seen[-1] == group
    assert (len(seen), set(seen)) == (5, ids)
    names: list[str] = []
    for _ in range(2):
        members, token = await service.list_members("ann", group, page_size=2, after=from_members_token(token))
        names += [member.username for member in members]
    assert (names, token) == (["ann", "bob", "cid", "dan"], "")


async def test_refusals_are_parleys_own(service, group):
    with pytest.raises(ParleyError):
        await service.update_member("bob", group, "ann", role=Role.READER, request_id="")
