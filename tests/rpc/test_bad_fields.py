"""A refused request names all of its fields that are out of their range, the one that the message is about first."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from parley.v1 import account_pb2, chat_pb2, conversation_pb2, dead_letter_pb2, message_pb2

from tests.support.people import Person, reason_of, registered, status_of
from tests.support.servers import RunningServer

LONG, BAD_ID, BAD_TOKEN = "x" * 300, "no:such:id", "é"
POSITION = {"conversation_id": BAD_ID, "seq": 1}

# Method, request, the paths of the fields that are named.
TABLE: list[tuple[str, Any, list[str]]] = [
    (
        "Send",
        message_pb2.SendRequest(conversation_id=BAD_ID, request_id=LONG, reply_to_seq=-1),
        ["conversation_id", "request_id", "reply_to_seq", "text"],
    ),
    (
        "Pull",
        message_pb2.PullRequest(
            conversation_id=BAD_ID, limit=-1, cursor=-1, from_time=Timestamp(seconds=2**60), reverse=True
        ),
        ["conversation_id", "limit", "cursor", "from_time"],
    ),
    (
        "Register",
        account_pb2.RegisterRequest(username="a", password="b", display_name=LONG, device_id=LONG),
        ["username", "password", "display_name", "device_id"],
    ),
    (
        "Login",
        account_pb2.LoginRequest(username="a", password=LONG, device_id=LONG),
        ["username", "password", "device_id"],
    ),
    (
        "UpdateUser",
        account_pb2.UpdateUserRequest(display_name=LONG, avatar_uri="here"),
        ["display_name", "avatar_uri"],
    ),
    (
        "ChangePassword",
        account_pb2.ChangePasswordRequest(old_password=LONG, new_password="b"),
        ["old_password", "new_password"],
    ),
    (
        "CreateConversation",
        conversation_pb2.CreateConversationRequest(title=LONG, members=["a", "bob", "c"], request_id=LONG),
        ["title", "members[0]", "members[2]", "request_id"],
    ),
    (
        "ListConversations",
        conversation_pb2.ListConversationsRequest(page_size=-1, page_token=BAD_TOKEN),
        ["page_size", "page_token"],
    ),
    (
        "UpdateConversation",
        conversation_pb2.UpdateConversationRequest(conversation_id=BAD_ID, title=LONG),
        ["conversation_id", "title"],
    ),
    (
        "AddMembers",
        conversation_pb2.AddMembersRequest(conversation_id=BAD_ID, role=99, request_id=LONG),
        ["conversation_id", "members", "role", "request_id"],
    ),
    (
        "RemoveMembers",
        conversation_pb2.RemoveMembersRequest(conversation_id=BAD_ID, members=["a"], request_id=LONG),
        ["conversation_id", "members[0]", "request_id"],
    ),
    (
        "UpdateMember",
        conversation_pb2.UpdateMemberRequest(conversation_id=BAD_ID, username="a", request_id=LONG),
        ["conversation_id", "username", "role", "request_id"],
    ),
    (
        "ListMembers",
        conversation_pb2.ListMembersRequest(conversation_id=BAD_ID, page_size=-1, page_token=BAD_TOKEN),
        ["conversation_id", "page_size", "page_token"],
    ),
    (
        "MarkRead",
        conversation_pb2.MarkReadRequest(conversation_id=BAD_ID, seq=-1),
        ["conversation_id", "seq"],
    ),
    (
        "ListDeadLetters",
        dead_letter_pb2.ListDeadLettersRequest(
            conversation_id=BAD_ID, device_id=LONG, page_size=-1, page_token=BAD_TOKEN
        ),
        ["conversation_id", "device_id", "page_token", "page_size"],
    ),
    (
        "Ack",
        chat_pb2.AckRequest(positions=[chat_pb2.Position(**POSITION)], epoch=-1, device_id=LONG),
        ["positions.conversation_id", "epoch", "device_id"],
    ),
]


@pytest.fixture(scope="module")
async def alice(server: RunningServer) -> AsyncIterator[Person]:
    async with registered(server.target) as person:
        yield person


def fields_of(status: status_pb2.Status) -> list[str]:
    """The paths that the BadRequest names; the message and the metadata are about the first one."""
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    first = bad.field_violations[0]
    assert status.message == f"{first.field}: {first.description}."
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.metadata["field"] == first.field
    return [violation.field for violation in bad.field_violations]


@pytest.mark.parametrize(("method", "request_", "fields"), TABLE, ids=[row[0] for row in TABLE])
async def test_call_names_all_fields_that_are_wrong(
    alice: Person, method: str, request_: Any, fields: list[str]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await alice.call(method, request_)
    assert reason_of(status_of(caught.value)) == "INVALID_REQUEST"
    assert fields_of(status_of(caught.value)) == fields


async def test_ack_and_its_frame_name_the_field_alike(alice: Person) -> None:
    request = chat_pb2.AckRequest(positions=[chat_pb2.Position(**POSITION)])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await alice.call("Ack", request)
    async with alice.chat() as stream:
        await stream.write(ack=chat_pb2.AckFrame(positions=request.positions))
        await stream.until(lambda: stream.errors, "the refusal")
        (refused,) = stream.errors
    assert refused.error == status_of(caught.value)
    assert fields_of(refused.error) == ["positions.conversation_id"]


@pytest.mark.parametrize(
    ("hello", "fields"),
    [
        (
            chat_pb2.Hello(
                heartbeat=Duration(seconds=1000),
                positions=[chat_pb2.Position(seq=-1)],
                epoch=-1,
                device_id=LONG,
                ack_mode=99,  # type: ignore[arg-type]
                start=99,  # type: ignore[arg-type]
                window_messages=-1,
                window_bytes=-1,
            ),
            [
                "heartbeat",
                "positions.seq",
                "epoch",
                "device_id",
                "ack_mode",
                "start",
                "window_messages",
                "window_bytes",
            ],
        ),
        (
            chat_pb2.Hello(ordered=True, ack_deadline=Duration(seconds=9), epoch=-1),
            ["epoch", "ordered", "ack_deadline"],
        ),
    ],
    ids=["out of range", "of another mode"],
)
async def test_hello_names_all_fields_that_are_wrong(alice: Person, hello: chat_pb2.Hello, fields: list[str]) -> None:
    call = alice.stub.Chat(metadata=alice.metadata, timeout=20)
    await call.write(chat_pb2.ChatRequest(correlation_id=1, hello=hello))
    frame = await call.read()
    (refused,) = frame.errors
    assert fields_of(refused.error) == fields
    call.cancel()
