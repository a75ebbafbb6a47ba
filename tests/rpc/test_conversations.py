"""Conversations over the wire: groups and direct ones, members and roles, lists, read positions."""

from typing import Any

import grpc
import pytest
from parley.v1 import account_pb2, message_pb2
from parley.v1 import conversation_pb2 as pb

from tests.support.callers import Caller, refused, register
from tests.support.people import PASSWORD, fresh_name

OWNER, ADMIN = message_pb2.MEMBER_ROLE_OWNER, message_pb2.MEMBER_ROLE_ADMIN
MEMBER, READER = message_pb2.MEMBER_ROLE_MEMBER, message_pb2.MEMBER_ROLE_READER


@pytest.fixture
def people(grpc_stub: Any) -> tuple[Caller, Caller, Caller]:
    return register(grpc_stub), register(grpc_stub), register(grpc_stub)


def make_group(owner: Caller, *members: Caller, **fields: Any) -> str:
    request = pb.CreateConversationRequest(members=[member.name for member in members], **fields)
    return owner.call("CreateConversation", request).conversation.conversation_id


def send(caller: Caller, conversation_id: str, text: str = "hello") -> message_pb2.Message:
    return caller.call("Send", message_pb2.SendRequest(conversation_id=conversation_id, text=text)).message


def get(caller: Caller, conversation_id: str) -> pb.Conversation:
    return caller.call("GetConversation", pb.GetConversationRequest(conversation_id=conversation_id)).conversation


def listed(caller: Caller, **fields: Any) -> list[str]:
    response = caller.call("ListConversations", pb.ListConversationsRequest(**fields))
    return [conversation.conversation_id for conversation in response.conversations]


def roles(caller: Caller, conversation_id: str) -> dict[str, int]:
    members = caller.call("ListMembers", pb.ListMembersRequest(conversation_id=conversation_id)).members
    return {member.username: member.role for member in members}


def add(caller: Caller, conversation_id: str, *members: str, **fields: Any) -> message_pb2.Message:
    request = pb.AddMembersRequest(conversation_id=conversation_id, members=members, **fields)
    return caller.call("AddMembers", request).message


def remove(caller: Caller, conversation_id: str, *members: str) -> message_pb2.Message:
    request = pb.RemoveMembersRequest(conversation_id=conversation_id, members=members)
    return caller.call("RemoveMembers", request).message


def give(caller: Caller, conversation_id: str, username: str, role: int) -> pb.UpdateMemberResponse:
    request = pb.UpdateMemberRequest(conversation_id=conversation_id, username=username, role=role)
    return caller.call("UpdateMember", request)


def test_group_is_made_with_its_members_and_no_entry(people):
    alice, bob, cid = people
    request = pb.CreateConversationRequest(title="Tea", members=[bob.name, cid.name.upper()], request_id="r")
    made = alice.call("CreateConversation", request)
    group = made.conversation
    assert (group.title, group.kind, group.role, group.member_count) == ("Tea", pb.CONVERSATION_KIND_GROUP, OWNER, 3)
    assert (group.last_seq, ":" in group.conversation_id, made.deduplicated) == (0, False, False)
    again = alice.call("CreateConversation", request)
    assert (again.conversation.conversation_id, again.deduplicated) == (group.conversation_id, True)
    request.title = "Coffee"
    with refused("REQUEST_ID_REUSED", grpc.StatusCode.ALREADY_EXISTS):
        alice.call("CreateConversation", request)
    assert send(bob, group.conversation_id).seq == 1
    assert roles(cid, group.conversation_id) == {alice.name: OWNER, bob.name: MEMBER, cid.name: MEMBER}


def test_unknown_member_is_named_and_nothing_is_made(people):
    alice, bob, _ = people
    absent = fresh_name()
    with refused("USER_NOT_FOUND", grpc.StatusCode.NOT_FOUND) as refusal:
        alice.call("CreateConversation", pb.CreateConversationRequest(members=[bob.name, absent]))
    assert refusal.metadata["username"] == absent
    assert listed(alice) == []


def test_direct_conversation_is_made_by_the_first_send_and_is_one_from_both_sides(people):
    alice, bob, cid = people
    direct = ":".join(sorted([alice.name, bob.name]))
    with refused("CONVERSATION_NOT_FOUND"):
        get(alice, direct)
    assert send(alice, f"{bob.name}:{alice.name}").conversation_id == direct
    seen = get(bob, direct)
    assert (seen.kind, seen.unread_count, seen.last_message.text) == (pb.CONVERSATION_KIND_DIRECT, 1, "hello")
    assert roles(alice, direct) == {alice.name: MEMBER, bob.name: MEMBER}
    for call in (
        lambda: add(alice, direct, cid.name),
        lambda: remove(alice, direct, bob.name),
        lambda: give(alice, direct, bob.name, OWNER),
        lambda: alice.call("UpdateConversation", pb.UpdateConversationRequest(conversation_id=direct, title="x")),
    ):
        with refused("DIRECT_CONVERSATION", grpc.StatusCode.FAILED_PRECONDITION):
            call()


def test_deleting_a_direct_conversation_hides_it_for_the_caller_until_the_next_message(people):
    alice, bob, _ = people
    direct = send(alice, f"{alice.name}:{bob.name}", "one").conversation_id
    alice.call("DeleteConversation", pb.DeleteConversationRequest(conversation_id=direct))
    assert (listed(alice), listed(bob)) == ([], [direct])
    assert send(bob, direct, "two").seq == 2
    assert listed(alice) == [direct]
    page = alice.call("Pull", message_pb2.PullRequest(conversation_id=direct))
    assert [message.text for message in page.messages] == ["two"]


def test_list_is_newest_first_in_pages_with_counts(people):
    alice, bob, _ = people
    groups = [make_group(alice, bob, title=str(number)) for number in range(5)]
    for group in (groups[2], groups[0]):
        send(bob, group)
    order = [groups[0], groups[2], groups[4], groups[3], groups[1]]
    assert listed(alice) == order
    paged, token = [], ""
    while True:
        page = alice.call("ListConversations", pb.ListConversationsRequest(page_size=2, page_token=token))
        paged += [conversation.conversation_id for conversation in page.conversations]
        token = page.next_page_token
        if not token:
            break
    assert paged == order
    first = alice.call("ListConversations", pb.ListConversationsRequest(page_size=1)).conversations[0]
    assert (first.unread_count, first.last_message.sender, first.read_seq) == (1, bob.name, 0)
    with refused("INVALID_REQUEST"):
        listed(alice, page_token="not one of ours")
    with refused("INVALID_REQUEST"):
        listed(alice, page_size=-1)


def test_read_position_moves_forward_only_and_counts_messages_of_others(people):
    alice, bob, _ = people
    group = make_group(alice, bob)
    for number in range(3):
        send(alice, group, str(number))
    send(bob, group, "mine")

    def mark(seq: int) -> tuple[int, int]:
        answer = bob.call("MarkRead", pb.MarkReadRequest(conversation_id=group, seq=seq))
        return answer.read_seq, answer.unread_count

    assert get(bob, group).unread_count == 3
    assert [mark(2), mark(1), mark(4)] == [(2, 1), (2, 1), (4, 0)]
    with refused("CURSOR_BEYOND_END", grpc.StatusCode.OUT_OF_RANGE) as refusal:
        mark(5)
    assert refusal.metadata["last_seq"] == "4"
    with refused("INVALID_REQUEST"):
        mark(-1)


def test_membership_is_part_of_the_log(people):
    alice, bob, cid = people
    group = make_group(alice)
    added = add(alice, group, bob.name, cid.name, role=READER)
    assert (added.seq, list(added.membership.members)) == (1, sorted([bob.name, cid.name]))
    given = give(alice, group, bob.name, ADMIN)
    assert (given.message.seq, given.member.role) == (2, ADMIN)
    left = remove(cid, group, cid.name)
    assert left.membership.action == message_pb2.MembershipChange.ACTION_REMOVED
    page = bob.call("Pull", message_pb2.PullRequest(conversation_id=group))
    assert list(page.messages) == [added, given.message, left]
    assert roles(bob, group) == {alice.name: OWNER, bob.name: ADMIN}
    with refused("CONVERSATION_NOT_FOUND", grpc.StatusCode.NOT_FOUND):
        roles(cid, group)


def test_roles_say_who_may_do_what(people):
    alice, bob, cid = people
    group = make_group(alice, bob, cid)
    give(alice, group, bob.name, ADMIN)
    for call in (
        lambda: add(cid, group, fresh_name()),
        lambda: remove(cid, group, bob.name),
        lambda: give(cid, group, cid.name, OWNER),
        lambda: cid.call("UpdateConversation", pb.UpdateConversationRequest(conversation_id=group, title="x")),
        lambda: cid.call("DeleteConversation", pb.DeleteConversationRequest(conversation_id=group)),
        lambda: remove(bob, group, alice.name),
        lambda: give(bob, group, bob.name, OWNER),
    ):
        with refused("ROLE_TOO_LOW", grpc.StatusCode.PERMISSION_DENIED):
            call()
    updated = bob.call("UpdateConversation", pb.UpdateConversationRequest(conversation_id=group, title="Tea"))
    assert updated.conversation.title == "Tea"
    with refused("MEMBER_NOT_FOUND"):
        give(alice, group, fresh_name(), MEMBER)


def test_last_owner_can_not_leave_others_behind(people):
    alice, bob, _ = people
    group = make_group(alice, bob)
    with refused("LAST_OWNER", grpc.StatusCode.FAILED_PRECONDITION):
        remove(alice, group, alice.name)
    with refused("LAST_OWNER"):
        give(alice, group, alice.name, MEMBER)
    give(alice, group, bob.name, OWNER)
    remove(alice, group, alice.name)
    remove(bob, group, bob.name)  # the last one of all may


def test_deleted_group_is_gone_for_all(people):
    alice, bob, _ = people
    group = make_group(alice, bob)
    alice.call("DeleteConversation", pb.DeleteConversationRequest(conversation_id=group))
    for caller in (alice, bob):
        assert listed(caller) == []
        with refused("CONVERSATION_NOT_FOUND"):
            send(caller, group)


def test_account_that_ends_hands_its_groups_on(people):
    alice, bob, _ = people
    group = make_group(alice, bob)
    alice.call("DeleteAccount", account_pb2.DeleteAccountRequest(password=PASSWORD))
    assert roles(bob, group) == {bob.name: OWNER}


@pytest.mark.parametrize("conversation_id", ["", ":", "alice:", ":alice", "a:b:c", "x" * 10_000, "Group", "ali\0:bob"])
def test_malformed_ids_are_refused_everywhere(people, conversation_id):
    alice, bob, _ = people
    for call in (
        lambda: get(alice, conversation_id),
        lambda: roles(alice, conversation_id),
        lambda: add(alice, conversation_id, bob.name),
        lambda: remove(alice, conversation_id, bob.name),
        lambda: give(alice, conversation_id, bob.name, MEMBER),
        lambda: alice.call("MarkRead", pb.MarkReadRequest(conversation_id=conversation_id)),
        lambda: alice.call("UpdateConversation", pb.UpdateConversationRequest(conversation_id=conversation_id)),
        lambda: alice.call("DeleteConversation", pb.DeleteConversationRequest(conversation_id=conversation_id)),
    ):
        with refused("INVALID_REQUEST", grpc.StatusCode.INVALID_ARGUMENT) as refusal:
            call()
        assert refusal.metadata["field"] == "conversation_id"


def test_group_of_ten_thousand_names_is_refused(people):
    alice, _, _ = people
    names = [f"user{number}" for number in range(10_000)]
    with refused("INVALID_REQUEST"):
        alice.call("CreateConversation", pb.CreateConversationRequest(members=names))
