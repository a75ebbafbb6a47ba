"""What the handlers of conversations add to the verbs: fields that are checked, defaults, and the answers' shape."""

import pytest
from parley.v1 import conversation_pb2 as pb
from parley.v1 import message_pb2

from service.conversations.service import ConversationService
from service.domain.call import Call, Principal
from service.domain.errors import InvalidRequest, UserNotFound
from service.domain.hashes import RequestHasher
from service.rpc.conversations import ConversationHandlers
from storage.postgres.connections.database import Database
from storage.postgres.conversations.conversations import Conversations
from storage.postgres.conversations.members import Members
from tests.support.logs import add_users, send


@pytest.fixture
async def handlers(database: Database) -> ConversationHandlers:
    await add_users(database, "ann", "bob", "cid")
    service = ConversationService(
        Conversations(database),
        Members(database),
        RequestHasher(b"key"),
        max_members=20_000,
        publish_entries=lambda entries: None,
        publish_memberships=lambda usernames: None,
        on_read=lambda *_: None,
    )
    return ConversationHandlers(service)


def as_user(username: str) -> Call:
    return Call("call", "", principal=Principal(username, "login", "device", 0.0, 0.0))


ANN, BOB = as_user("ann"), as_user("bob")


async def make_group(handlers: ConversationHandlers, *members: str) -> pb.Conversation:
    response = await handlers.create_conversation(
        pb.CreateConversationRequest(title="Tea", members=members, request_id="r1"), ANN
    )
    return response.conversation


async def test_life_of_a_group_as_clients_see_it(handlers, database):
    made = await make_group(handlers, "BOB", "bob")
    assert (made.kind, made.title, made.role) == (pb.CONVERSATION_KIND_GROUP, "Tea", message_pb2.MEMBER_ROLE_OWNER)
    assert (made.member_count, made.history_visible, made.HasField("last_message")) == (2, True, False)
    assert made.last_activity_time.ToMicroseconds() >= made.create_time.ToMicroseconds() > 0
    of_group = {"conversation_id": made.conversation_id}

    await send(database, made.conversation_id, "ann", "hello")
    added = await handlers.add_members(pb.AddMembersRequest(members=["cid"], request_id="r2", **of_group), ANN)
    assert (added.message.seq, added.message.request_id, added.deduplicated) == (2, "r2", False)
    assert added.message.membership.role == message_pb2.MEMBER_ROLE_MEMBER
    again = await handlers.add_members(pb.AddMembersRequest(members=["cid"], request_id="r2", **of_group), ANN)
    assert (again.message, again.deduplicated) == (added.message, True)
    nothing = await handlers.add_members(pb.AddMembersRequest(members=["cid"], request_id="r3", **of_group), ANN)
    assert not nothing.HasField("message")

    listed = await handlers.list_conversations(pb.ListConversationsRequest(), BOB)
    (seen,) = listed.conversations
    assert seen == (await handlers.get_conversation(pb.GetConversationRequest(**of_group), BOB)).conversation
    assert (seen.unread_count, seen.last_message, listed.next_page_token) == (1, added.message, "")
    read = await handlers.mark_read(pb.MarkReadRequest(seq=1, **of_group), BOB)
    assert (read.read_seq, read.unread_count) == (1, 0)

    updated = await handlers.update_member(
        pb.UpdateMemberRequest(username="Cid", role=message_pb2.MEMBER_ROLE_ADMIN, **of_group), ANN
    )
    assert (updated.member.username, updated.member.role) == ("cid", message_pb2.MEMBER_ROLE_ADMIN)
    assert updated.message.membership.action == message_pb2.MembershipChange.ACTION_ROLE_CHANGED
    assert len(updated.message.request_id) >= 16
    page = await handlers.list_members(pb.ListMembersRequest(page_size=2, **of_group), BOB)
    assert [member.username for member in page.members] == ["ann", "bob"]
    page = await handlers.list_members(
        pb.ListMembersRequest(page_size=2, page_token=page.next_page_token, **of_group), BOB
    )
    assert ([member.username for member in page.members], page.next_page_token) == (["cid"], "")

    removed = await handlers.remove_members(pb.RemoveMembersRequest(members=["bob"], **of_group), ANN)
    assert removed.message.membership.members == ["bob"]
    await handlers.delete_conversation(pb.DeleteConversationRequest(**of_group), ANN)
    assert not (await handlers.list_conversations(pb.ListConversationsRequest(), ANN)).conversations


async def test_update_tells_empty_from_not_given(handlers):
    made = await make_group(handlers)
    of_group = {"conversation_id": made.conversation_id}
    response = await handlers.update_conversation(pb.UpdateConversationRequest(history_visible=False, **of_group), ANN)
    assert (response.conversation.title, response.conversation.history_visible) == ("Tea", False)
    response = await handlers.update_conversation(pb.UpdateConversationRequest(title="", **of_group), ANN)
    assert (response.conversation.title, response.conversation.history_visible) == ("", False)


async def test_repeat_of_creation_says_so(handlers):
    request = pb.CreateConversationRequest(title="Tea", members=["bob"], request_id="r1", history_visible=False)
    first = await handlers.create_conversation(request, ANN)
    repeat = await handlers.create_conversation(request, ANN)
    assert (first.deduplicated, repeat.deduplicated) == (False, True)
    assert first.conversation == repeat.conversation
    assert not first.conversation.history_visible


async def test_direct_one_is_named_either_way(handlers, database):
    await Conversations(database).ensure_direct("ann:bob")
    for conversation_id in ("ann:bob", "bob:ann", "BOB:ann"):
        response = await handlers.get_conversation(pb.GetConversationRequest(conversation_id=conversation_id), ANN)
        assert response.conversation.conversation_id == "ann:bob"
        assert response.conversation.kind == pb.CONVERSATION_KIND_DIRECT


MANY = [f"user{nth}" for nth in range(10_000)]


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("create_conversation", pb.CreateConversationRequest(members=MANY), "members"),
        ("create_conversation", pb.CreateConversationRequest(members=MANY[:501]), "members"),
        ("create_conversation", pb.CreateConversationRequest(members=["ann", "x y"]), "members[1]"),
        ("create_conversation", pb.CreateConversationRequest(title="x" * 257), "title"),
        ("create_conversation", pb.CreateConversationRequest(title="\0"), "title"),
        ("create_conversation", pb.CreateConversationRequest(request_id="x" * 65), "request_id"),
        ("get_conversation", pb.GetConversationRequest(), "conversation_id"),
        ("get_conversation", pb.GetConversationRequest(conversation_id="ann:"), "conversation_id"),
        ("get_conversation", pb.GetConversationRequest(conversation_id="a:b:c" * 2000), "conversation_id"),
        ("list_conversations", pb.ListConversationsRequest(page_size=-1), "page_size"),
        ("list_conversations", pb.ListConversationsRequest(page_token="x"), "page_token"),
        ("update_conversation", pb.UpdateConversationRequest(conversation_id="g1", title="x" * 257), "title"),
        ("delete_conversation", pb.DeleteConversationRequest(conversation_id=":"), "conversation_id"),
        ("add_members", pb.AddMembersRequest(conversation_id="g1"), "members"),
        ("add_members", pb.AddMembersRequest(conversation_id="g1", members=MANY), "members"),
        ("add_members", pb.AddMembersRequest(conversation_id="g1", members=["bob"], role=9), "role"),
        ("remove_members", pb.RemoveMembersRequest(conversation_id="g1"), "members"),
        ("update_member", pb.UpdateMemberRequest(conversation_id="g1", username="bob"), "role"),
        ("update_member", pb.UpdateMemberRequest(conversation_id="g1", username="", role=2), "username"),
        ("list_members", pb.ListMembersRequest(conversation_id="g1", page_size=-1), "page_size"),
        ("list_members", pb.ListMembersRequest(conversation_id="g1", page_token="x"), "page_token"),
        ("mark_read", pb.MarkReadRequest(conversation_id="g1", seq=-1), "seq"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_field_out_of_its_range_is_named(handlers, method, request_, field):
    with pytest.raises(InvalidRequest) as caught:
        await getattr(handlers, method)(request_, ANN)
    assert caught.value.metadata["field"] == field


async def test_first_missing_user_is_named(handlers):
    with pytest.raises(UserNotFound) as caught:
        await make_group(handlers, "zoe", "nobody", "bob")
    assert caught.value.metadata["username"] == "nobody"
