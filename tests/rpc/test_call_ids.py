"""What a call can be found by: its id in the trailers and in the log, the caller's trace id, and events of refusals."""

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from parley.v1 import account_pb2, chat_pb2, chat_service_pb2_grpc, message_pb2, server_info_pb2

from tests.support.certificates import make_certificate
from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PASSWORD = "planted horse battery"


@pytest.fixture(scope="module")
def talkative() -> Iterator[RunningServer]:
    """A server whose log is at the level debug, in JSON."""
    with running_server(settings={"PARLEY_LOG_LEVEL": "debug", "PARLEY_LOG_FORMAT": "json"}) as server:
        yield server


@pytest.fixture(scope="module")
def stub(talkative: RunningServer) -> Iterator["chat_service_pb2_grpc.ChatServiceStub"]:
    with grpc.insecure_channel(talkative.target) as channel:
        yield chat_service_pb2_grpc.ChatServiceStub(channel)


def events(server: RunningServer, **wanted: str) -> list[dict[str, str]]:
    """The events of the log that have these fields."""
    found = [json.loads(line) for line in list(server.output) if line.startswith("{")]
    return [event for event in found if all(event.get(key) == value for key, value in wanted.items())]


def wait_for_event(server: RunningServer, **wanted: str) -> dict[str, str]:
    wait_until(lambda: bool(events(server, **wanted)), what=f"an event with {wanted}")
    return events(server, **wanted)[-1]


def call_id_of(metadata: object) -> str:
    (found,) = [value for key, value in metadata if key == "x-call-id"]  # type: ignore[attr-defined]
    assert len(found) == 12
    return found


def test_answered_call_has_its_id_in_the_trailers_and_in_the_log(talkative: RunningServer, stub) -> None:
    metadata = (("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"),)
    _, call = stub.GetServerInfo.with_call(server_info_pb2.GetServerInfoRequest(), metadata=metadata, timeout=20)
    event = wait_for_event(talkative, call_id=call_id_of(call.trailing_metadata()), event="call")
    assert (event["method"], event["code"], event["trace_id"], event["level"]) == (
        "GetServerInfo",
        "OK",
        TRACE,
        "debug",
    )


def test_refused_call_has_its_id_beside_the_details(talkative: RunningServer, stub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Send(message_pb2.SendRequest(), timeout=20)
    trailers = caught.value.trailing_metadata()
    assert "grpc-status-details-bin" in dict(trailers)
    event = wait_for_event(talkative, call_id=call_id_of(trailers), event="call")
    assert (event["method"], event["code"]) == ("Send", "UNAUTHENTICATED")
    assert "trace_id" not in event


def test_stream_has_its_id_in_the_trailers(talkative: RunningServer, stub) -> None:
    answer = stub.Register(account_pb2.RegisterRequest(username="streaming", password=PASSWORD), timeout=20)
    stream = stub.Chat(
        iter([chat_pb2.ChatRequest(hello=chat_pb2.Hello())]),
        metadata=[("authorization", f"Bearer {answer.access_token}")],
        timeout=20,
    )
    assert list(stream)
    event = wait_for_event(talkative, call_id=call_id_of(stream.trailing_metadata()), event="call")
    assert (event["method"], event["code"]) == ("Chat", "OK")


@pytest.mark.parametrize(
    "value",
    [
        "garbage",
        f"00-{TRACE}-00f067aa0ba902b7",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        'x"\\n{"event":"forged"}',
    ],
)
def test_traceparent_that_is_none_is_left_out(talkative: RunningServer, stub, value: str) -> None:
    metadata = (("traceparent", value),)
    _, call = stub.GetServerInfo.with_call(server_info_pb2.GetServerInfoRequest(), metadata=metadata, timeout=20)
    assert "trace_id" not in wait_for_event(talkative, call_id=call_id_of(call.trailing_metadata()), event="call")


def test_each_refused_login_is_an_event_without_what_was_tried(talkative: RunningServer, stub) -> None:
    stub.Register(account_pb2.RegisterRequest(username="known", password=PASSWORD), timeout=20)
    for name, password in (("known", "canary-password"), ("canary-name", "canary-password")):
        with pytest.raises(grpc.RpcError):
            stub.Login(account_pb2.LoginRequest(username=name, password=password), timeout=20)
    wait_until(lambda: len(events(talkative, event="login refused")) >= 2, what="two events")
    known, unknown = events(talkative, event="login refused")[:2]
    assert (known["reason"], known["username"], known["address"]) == ("BAD_CREDENTIALS", "known", "127.0.0.1")
    assert "username" not in unknown
    assert known["level"] == "warning"
    assert "canary" not in talkative.text


def test_refresh_token_that_was_used_before_is_an_event(talkative: RunningServer, stub) -> None:
    made = stub.Register(account_pb2.RegisterRequest(username="reused", password=PASSWORD), timeout=20)
    stub.RefreshToken(account_pb2.RefreshTokenRequest(refresh_token=made.refresh_token, request_id="1"), timeout=20)
    with pytest.raises(grpc.RpcError):
        stub.RefreshToken(account_pb2.RefreshTokenRequest(refresh_token=made.refresh_token, request_id="2"), timeout=20)
    event = wait_for_event(talkative, event="refresh refused")
    assert event["username"] == "reused"
    assert made.refresh_token not in talkative.text


def test_what_the_limits_refuse_is_one_event_a_second_with_a_count() -> None:
    settings = {"PARLEY_AUTH_ATTEMPTS_PER_MINUTE": "1", "PARLEY_LOG_FORMAT": "json"}
    with running_server(settings=settings) as server, grpc.insecure_channel(server.target) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        for _ in range(30):
            with pytest.raises(grpc.RpcError):
                stub.Login(account_pb2.LoginRequest(username="nobody", password="x"), timeout=20)
        wait_for_event(server, event="login refused", reason="RATE_LIMITED")
        assert 1 <= len(events(server, event="login refused", reason="RATE_LIMITED")) < 29


def test_line_of_grpc_itself_is_in_the_format_of_the_log(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, host="localhost")
    settings = {
        "PARLEY_LOG_FORMAT": "json",
        "PARLEY_TLS_CERTIFICATE_FILE": str(certificate),
        "PARLEY_TLS_KEY_FILE": str(key),
    }
    with running_server(settings=settings) as server:
        host, port = server.target.rsplit(":", 1)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, and says so
        with socket.create_connection((host, int(port))) as plain, pytest.raises(ssl.SSLError):
            context.wrap_socket(plain, server_hostname="localhost")
        wait_until(lambda: any("andshake failed" in line for line in list(server.output)), what="the line of gRPC")
        (line,) = [line for line in list(server.output) if "andshake failed" in line][:1]
        event = json.loads(line)
        assert (event["process"], event["level"]) == ("worker 0", "info")
        assert ".cc:" in event["source"]
