"""clients/retry_policy.json, as gRPC's own clients obey it: what is tried again, and why that does no harm."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from parley.v1 import chat_service_pb2, chat_service_pb2_grpc, conversation_pb2, message_pb2, server_info_pb2

from tests.support.people import registered
from tests.support.proxy import open_proxy
from tests.support.servers import RunningServer
from tests.support.waiting import wait_for

CLIENTS = Path(__file__).parents[2] / "clients"
POLICY = (CLIENTS / "retry_policy.json").read_text()
SERVICE: ServiceDescriptor = chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"]
# A repeat of these is not the same call again, or they are streams, which go on by their next hello.
NEVER = {"Register", "ChangePassword", "DeleteAccount", "DeleteConversation", "Chat", "Subscribe"}


def named() -> list[str]:
    """All methods of the policy."""
    return [name["method"] for config in json.loads(POLICY)["methodConfig"] for name in config["name"]]


@asynccontextmanager
async def stub_of(
    target: str, *, policy: str | None = POLICY
) -> "AsyncIterator[chat_service_pb2_grpc.ChatServiceAsyncStub]":
    options: list[tuple[str, int | str]] = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500),
    ]
    if policy is not None:
        options.append(("grpc.service_config", policy))
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        yield chat_service_pb2_grpc.ChatServiceStub(channel)


def test_each_call_is_named_once_or_never_repeated() -> None:
    assert sorted(named()) == sorted(set(SERVICE.methods_by_name) - NEVER)


def test_what_takes_a_request_id_is_the_second_part() -> None:
    """These are safe only with one; the page for clients says so."""
    with_id = {
        name
        for name, method in SERVICE.methods_by_name.items()
        if "request_id" in method.input_type.fields_by_name or name == "BatchSend"
    }
    assert {name["method"] for name in json.loads(POLICY)["methodConfig"][1]["name"]} == with_id


def test_the_page_for_clients_names_the_same_calls() -> None:
    page = (CLIENTS.parent / "docs" / "clients.md").read_text()
    found = re.search(r"never: ([A-Za-z, ]+)\.", page)
    assert found is not None
    assert set(found[1].replace(" and ", ", ").split(", ")) == NEVER


async def send_and_lose_the_answer(server: RunningServer, *, policy: str | None) -> message_pb2.SendResponse:
    """Sends a message whose answer gets lost with the connection, after it was stored."""
    async with (
        registered(server.target) as alice,
        open_proxy(server.target) as proxy,
        stub_of(proxy.target, policy=policy) as stub,
    ):
        own = f"{alice.name}:{alice.name}"
        await stub.GetServerInfo(server_info_pb2.GetServerInfoRequest())
        proxy.swallow_answers()
        request = message_pb2.SendRequest(conversation_id=own, text="once", request_id="only")
        sending = asyncio.ensure_future(stub.Send(request, metadata=alice.metadata))

        async def is_stored() -> bool:
            return bool(
                (await alice.call("ListConversations", conversation_pb2.ListConversationsRequest())).conversations
            )

        await wait_for(is_stored, what="the message")
        proxy.restore()
        assert proxy.drop() == 1
        response = await sending
        assert [message.text for message in (await alice.pull(own)).messages] == ["once"]
        return response


async def test_a_send_whose_answer_was_lost_is_repeated_and_takes_effect_once(server: RunningServer) -> None:
    response = await send_and_lose_the_answer(server, policy=POLICY)
    assert (response.message.seq, response.deduplicated) == (1, True)


async def test_without_the_policy_the_caller_is_told(server: RunningServer) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await send_and_lose_the_answer(server, policy=None)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
