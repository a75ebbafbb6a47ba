"""GetServerInfo: which server this is, how it is, and the limits that requests meet."""

import time
from importlib import metadata

import grpc
import pytest
from parley.v1 import chat_service_pb2_grpc, server_info_pb2

from service.settings.tree import AuthSettings, LimitSettings
from tests.support.servers import RunningServer
from tests.support.waiting import wait_until

Stub = chat_service_pb2_grpc.ChatServiceStub


@pytest.fixture
def info(grpc_stub: Stub) -> server_info_pb2.GetServerInfoResponse:
    return grpc_stub.GetServerInfo(server_info_pb2.GetServerInfoRequest(), timeout=5)


def test_it_says_who_it_is_without_a_token(info: server_info_pb2.GetServerInfoResponse):
    assert (info.name, info.api_version, info.version) == ("parley", "parley.v1", metadata.version("parley-server"))
    assert info.epoch == 1
    assert time.time() - 3600 < info.start_time.seconds <= time.time()


def test_parts_are_told_with_their_state(grpc_stub: Stub):
    def are_ok() -> bool:
        found = grpc_stub.GetServerInfo(server_info_pb2.GetServerInfoRequest(), timeout=5).components
        assert {component.name for component in found} == {"postgres", "redis"}
        return all(component.state == server_info_pb2.Component.STATE_OK for component in found)

    wait_until(are_ok)


def test_limits_are_those_that_hold(info: server_info_pb2.GetServerInfoResponse):
    limits, defaults, auth = info.limits, LimitSettings(), AuthSettings()
    assert {field.name for field, _ in limits.ListFields()} == {field.name for field in limits.DESCRIPTOR.fields}
    assert (limits.max_text_bytes, limits.max_message_bytes) == (16_384, 65_536)
    assert (limits.max_request_bytes, limits.max_response_bytes) == (256 * 1024, 1024 * 1024)
    assert (limits.max_batch_requests, limits.max_pull_limit) == (500, 500)
    assert (limits.max_members_per_request, limits.max_presence_usernames) == (500, 500)
    assert limits.max_members == defaults.max_members
    assert limits.max_devices == defaults.max_devices
    assert limits.max_streams == defaults.max_streams_per_user
    assert limits.access_token_lifetime.seconds == auth.access_token_seconds
    assert limits.refresh_token_lifetime.seconds == auth.refresh_token_seconds


def test_request_above_the_limit_is_refused_by_the_transport(grpc_channel: grpc.Channel, server: RunningServer):
    call = grpc_channel.unary_unary("/parley.v1.ChatService/GetServerInfo")
    call(b"", timeout=5)
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\x0a" + b"x" * 256 * 1024, timeout=5)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert server.process.poll() is None
