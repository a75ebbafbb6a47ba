"""The names that clients and their authors count on, written down as a stranger would who has only read about them.

That every element has a comment, that nothing is renamed or renumbered and that the stubs are current is held by
`scripts/check_contract.sh`; here is what those gates can't know.
"""

import re
from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from parley.v1 import (
    account_pb2,
    chat_pb2,
    chat_service_pb2,
    conversation_pb2,
    dead_letter_pb2,
    error_pb2,
    message_pb2,
    presence_pb2,
    server_info_pb2,
)

FILES = [
    module.DESCRIPTOR
    for module in (
        account_pb2,
        chat_pb2,
        chat_service_pb2,
        conversation_pb2,
        dead_letter_pb2,
        error_pb2,
        message_pb2,
        presence_pb2,
        server_info_pb2,
    )
]

UNARY = """
    GetServerInfo
    Register Login RefreshToken Logout GetUser UpdateUser ChangePassword DeleteAccount
    CreateConversation GetConversation ListConversations UpdateConversation DeleteConversation
    AddMembers RemoveMembers UpdateMember ListMembers MarkRead
    Send BatchSend Pull Ack GetPresence ListDeadLetters RedriveDeadLetters DeleteDeadLetters
"""

TOKENS = "user access_token access_expire_time refresh_token refresh_expire_time"
FIELDS = {
    "RegisterRequest": "username password display_name device_id",
    "RegisterResponse": TOKENS,
    "LoginRequest": "username password device_id",
    "LoginResponse": TOKENS,
    "RefreshTokenRequest": "refresh_token request_id",
    "RefreshTokenResponse": TOKENS,
    "LogoutRequest": "refresh_token",
    "User": "username display_name avatar_uri create_time",
    "GetServerInfoResponse": "name version api_version commit limits start_time epoch",
    "CreateConversationRequest": "title members request_id",
    "CreateConversationResponse": "conversation",
    "Conversation": "conversation_id title unread_count last_message read_seq",
    "SendRequest": "conversation_id text request_id data content_type attachments reply_to_seq mentions attributes",
    "SendResponse": "message deduplicated",
    "BatchSendRequest": "requests",
    "BatchSendResponse": "results",
    "PullRequest": "conversation_id cursor limit reverse from_time",
    "PullResponse": "messages next_cursor has_more epoch",
    "Message": "conversation_id seq sender text data content_type request_id create_time attachments reply_to_seq "
    "delivery_attempt",
    "Attachment": "uri media_type size_bytes name",
    "ChatRequest": "correlation_id hello send ack nack read typing watch_presence authenticate",
    "Hello": "device_id start positions no_echo heartbeat ack_mode ordered ack_deadline",
    "Position": "conversation_id seq",
    "SendFrame": "requests",
    "AckFrame": "positions",
    "NackFrame": "nacks",
    "Nack": "conversation_id seq reason retry_delay",
    "DeadLetter": "dead_letter_id username device_id message attempts last_reason",
    "ChatResponse": "welcomes results messages caught_up presence typing errors heartbeats go_aways",
    "CaughtUp": "conversation_id complete",
    "SendResult": "correlation_id index accepted error",
    "Accepted": "conversation_id seq create_time deduplicated",
    "StreamError": "correlation_id error",
    "SubscribeRequest": "hello",
    "AckRequest": "positions",
}

# The numbers' families by their first digit, and who is in them.
REASONS = {
    1: "INTERNAL INVALID_REQUEST RATE_LIMITED OVERLOADED",
    2: "DATABASE_UNAVAILABLE",
    3: "TOKEN_MISSING TOKEN_INVALID TOKEN_EXPIRED BAD_CREDENTIALS USERNAME_TAKEN USER_NOT_FOUND",
    4: "CONVERSATION_NOT_FOUND ROLE_TOO_LOW",
    5: "REQUEST_ID_REUSED CURSOR_BEYOND_END MESSAGE_TOO_LARGE RETRY_EXHAUSTED ACK_MODE_MISMATCH DELIVERY_NOT_HELD",
}


def list_messages() -> Iterator[Descriptor]:
    """Lists every message of the contract, nested ones included."""
    waiting = [message for file in FILES for message in file.message_types_by_name.values()]
    while waiting:
        message = waiting.pop()
        waiting += message.nested_types
        yield message


def list_fields() -> Iterator[FieldDescriptor]:
    """Lists every field of the contract."""
    return (field for message in list_messages() for field in message.fields)


def test_service_has_the_calls_that_clients_were_promised() -> None:
    service = chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"]
    assert service.full_name == "parley.v1.ChatService"
    streaming = {
        method.name: (method.client_streaming, method.server_streaming)
        for method in service.methods
        if method.client_streaming or method.server_streaming
    }
    assert streaming == {"Chat": (True, True), "Subscribe": (False, True)}
    assert set(UNARY.split()) <= {method.name for method in service.methods} - set(streaming)


@pytest.mark.parametrize("name", FIELDS)
def test_message_has_the_fields_that_clients_were_promised(name: str) -> None:
    messages = {message.name: message for message in list_messages()}
    assert set(FIELDS[name].split()) <= set(messages[name].fields_by_name)


def test_all_calls_that_log_in_answer_with_the_same_fields() -> None:
    responses = [f"{verb}Response" for verb in ("Register", "Login", "RefreshToken", "ChangePassword")]
    shapes = {
        tuple((field.number, field.name) for field in message.fields)
        for message in list_messages()
        if message.name in responses
    }
    assert len(shapes) == 1


def test_kind_of_an_entry_is_a_oneof_and_its_content_is_beside_it() -> None:
    (entry,) = message_pb2.Message.DESCRIPTOR.oneofs
    assert (entry.name, [field.name for field in entry.fields][:2]) == ("entry", ["message", "membership"])
    assert message_pb2.Message.DESCRIPTOR.fields_by_name["text"].containing_oneof is None


def test_reasons_keep_their_families() -> None:
    values = error_pb2.ErrorReason.DESCRIPTOR.values_by_name
    for family, names in REASONS.items():
        for name in names.split():
            assert values[f"ERROR_REASON_{name}"].number // 10_000 == family, name
    assert all(10_000 < value.number < 60_000 for value in list(values.values())[1:])


def test_names_avoid_what_languages_own() -> None:
    assert {message.name for message in list_messages()}.isdisjoint({"Result", "Error", "Status", "Option", "Any"})
    assert {field.name for field in list_fields()}.isdisjoint({"bytes", "type", "reset", "class", "id"})


def test_seqs_and_correlation_ids_are_int64() -> None:
    fields = [field for field in list_fields() if re.search(r"(^|_)seq$|^correlation_id$|cursor$|^epoch$", field.name)]
    assert len(fields) > 20
    assert {field.full_name for field in fields if field.type != FieldDescriptor.TYPE_INT64} == set()


def test_times_are_timestamps_and_end_in_time() -> None:
    for field in list_fields():
        is_time = field.message_type is not None and field.message_type.full_name == "google.protobuf.Timestamp"
        assert is_time == field.name.endswith("_time"), field.full_name


def test_whatever_changes_something_can_be_repeated_by_request_id() -> None:
    messages = {message.name: message for message in list_messages()}
    verbs = ["Send", "CreateConversation", "AddMembers", "RemoveMembers", "UpdateMember", "RefreshToken"]
    assert [verb for verb in verbs if "request_id" not in messages[f"{verb}Request"].fields_by_name] == []


def test_lists_have_pages_from_the_first_day() -> None:
    for message in list_messages():
        if re.fullmatch(r"List\w+Request", message.name):
            assert {"page_size", "page_token"} <= set(message.fields_by_name), message.name
        if re.fullmatch(r"List\w+Response", message.name):
            assert "next_page_token" in message.fields_by_name, message.name
