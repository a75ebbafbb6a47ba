"""Every method of the contract is served, and none but the public ones without a good token."""

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from parley.v1 import chat_pb2, chat_service_pb2

from service.rpc.accounts import AccountHandlers
from service.rpc.acks import AckHandlers
from service.rpc.chat.stream import ChatHandlers
from service.rpc.conversations import ConversationHandlers
from service.rpc.dead_letters import DeadLetterHandlers
from service.rpc.messages import MessageHandlers
from service.rpc.method_kinds import Stream, Unary
from service.rpc.methods import Handlers, to_methods
from service.rpc.presence import PresenceHandlers
from service.rpc.server_info import ServerInfoHandlers
from tests.support.people import connected, reason_of, registered, status_of
from tests.support.servers import RunningServer
from tests.support.tokens import bad_tokens

SERVICE = chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"]
PUBLIC = {"GetServerInfo", "Register", "Login", "RefreshToken", "Logout"}


def methods() -> dict[str, Unary | Stream]:
    """The table; the handlers behind it are never called."""
    kinds = (
        ServerInfoHandlers,
        AccountHandlers,
        ConversationHandlers,
        MessageHandlers,
        ChatHandlers,
        AckHandlers,
        DeadLetterHandlers,
        PresenceHandlers,
    )
    return to_methods(Handlers(*(kind.__new__(kind) for kind in kinds)))


async def refusal_of(channel: grpc.aio.Channel, method: str, metadata: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """Calls a method with an empty request; gives (status code, reason) of its refusal."""
    descriptor = SERVICE.methods_by_name[method]
    path = f"/{SERVICE.full_name}/{method}"
    try:
        if descriptor.client_streaming:
            call = channel.stream_stream(path)(metadata=metadata, timeout=10)
            await call.read()
        elif descriptor.server_streaming:
            await channel.unary_stream(path)(b"", metadata=metadata, timeout=10).read()
        else:
            await channel.unary_unary(path)(b"", metadata=metadata, timeout=10)
    except grpc.aio.AioRpcError as error:
        return error.code().name, reason_of(status_of(error))
    return "OK", ""


def test_table_has_exactly_the_methods_of_the_contract():
    table = methods()
    assert set(table) == {method.name for method in SERVICE.methods}
    for method in SERVICE.methods:
        entry = table[method.name]
        assert isinstance(entry, Stream) == method.server_streaming, method.name
        if method.client_streaming:
            assert entry.request_type is None
        else:
            assert entry.request_type is not None
            assert entry.request_type.DESCRIPTOR is method.input_type, method.name
    assert {name for name, entry in table.items() if isinstance(entry, Unary) and not entry.needs_token} == PUBLIC


def test_chat_response_has_only_repeated_message_fields():
    for field in chat_pb2.ChatResponse.DESCRIPTOR.fields:
        assert field.is_repeated, field.name
        assert field.type == FieldDescriptor.TYPE_MESSAGE, field.name


@pytest.mark.parametrize("method", sorted(method.name for method in SERVICE.methods if method.name not in PUBLIC))
async def test_no_method_but_the_public_ones_answers_without_a_good_token(server: RunningServer, method: str):
    async with registered(server.target) as alice:
        assert await refusal_of(alice.channel, method, ()) == ("UNAUTHENTICATED", "TOKEN_MISSING")
        bad = bad_tokens(server, alice.token, alice.refresh_token, alice.name)
        for name, (token, reason) in bad.items():
            metadata = (("authorization", f"Bearer {token}"),)
            assert await refusal_of(alice.channel, method, metadata) == ("UNAUTHENTICATED", reason), name
        for header in (f"Basic {alice.token}", alice.token, "Bearer", "Bearer "):
            code, reason = await refusal_of(alice.channel, method, (("authorization", header),))
            assert code == "UNAUTHENTICATED", header
            assert reason in ("TOKEN_MISSING", "TOKEN_INVALID")


@pytest.mark.parametrize("method", sorted(PUBLIC))
async def test_public_methods_look_at_no_token(server: RunningServer, method: str):
    async with connected(server.target), grpc.aio.insecure_channel(server.target) as channel:
        for metadata in ((), (("authorization", "Bearer garbage"),)):
            code, reason = await refusal_of(channel, method, metadata)
            expected = {
                "GetServerInfo": ("OK", ""),
                "RefreshToken": ("UNAUTHENTICATED", "TOKEN_INVALID"),
                "Logout": ("UNAUTHENTICATED", "TOKEN_INVALID"),
            }
            assert (code, reason) == expected.get(method, ("INVALID_ARGUMENT", "INVALID_REQUEST"))


async def test_scheme_is_read_without_case_and_unknown_methods_are_unimplemented(server: RunningServer):
    async with registered(server.target) as alice:
        code, reason = await refusal_of(alice.channel, "GetPresence", (("authorization", f"bearer {alice.token}"),))
        assert (code, reason) == ("OK", "")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await alice.channel.unary_unary(f"/{SERVICE.full_name}/NoSuchMethod")(b"", timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
