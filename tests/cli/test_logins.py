"""`parley login ...` and `parley device ...` beside a running server."""

import itertools

import grpc
import pytest
from parley.v1 import account_pb2, chat_pb2, chat_service_pb2_grpc, message_pb2

from tests.support.callers import Caller, register
from tests.support.commands import done, refused, rows
from tests.support.people import PASSWORD, fresh_name
from tests.support.servers import RunningServer
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def stub(server: RunningServer):
    with grpc.insecure_channel(server.target) as channel:
        yield chat_service_pb2_grpc.ChatServiceStub(channel)


def log_in(stub, name: str, device_id: str) -> Caller:
    request = account_pb2.LoginRequest(username=name, password=PASSWORD, device_id=device_id)
    answer = stub.Login(request, timeout=20)
    return Caller(stub, name, answer.access_token, answer.refresh_token)


def open_stream(stub, caller: Caller, **hello):
    """A stream that has said hello; gives the call and its frames."""
    call = stub.Subscribe(
        chat_pb2.SubscribeRequest(hello=chat_pb2.Hello(**hello)),
        metadata=(("authorization", f"Bearer {caller.token}"),),
        timeout=50,
    )
    first = next(call)
    assert first.welcomes
    return call, itertools.chain([first], call)


def ends_unauthenticated(frames) -> bool:
    try:
        for _ in frames:
            pass
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.UNAUTHENTICATED
    return False


def test_logins_are_listed_and_one_is_ended_with_its_stream(server: RunningServer, stub) -> None:
    first = register(stub, device_id="phone")
    second = log_in(stub, first.name, "tablet")
    stub.RefreshToken(account_pb2.RefreshTokenRequest(refresh_token=second.refresh_token), timeout=20)
    phone, tablet = rows(server, "login", "list", first.name)
    assert [phone["device_id"], tablet["device_id"]] == ["phone", "tablet"]
    assert set(phone) == {
        *("login_id", "username", "device_id", "create_time", "refresh_time", "expire_time", "end_time")
    }
    assert phone["refresh_time"] is None
    assert tablet["refresh_time"] > tablet["create_time"]
    call, frames = open_stream(stub, first)
    other, _ = open_stream(stub, second)
    assert done(server, "login", "end", phone["login_id"], phone["login_id"]) == f"ended {phone['login_id']}\n"
    assert ends_unauthenticated(frames)
    assert other.is_active()
    other.cancel()
    call.cancel()
    assert [row["device_id"] for row in rows(server, "login", "list", first.name)] == ["tablet"]
    assert rows(server, "login", "end", phone["login_id"]) == [{"login_id": phone["login_id"], "result": "left"}]
    text = done(server, "login", "list", first.name).splitlines()
    assert text[0].split("\t") == ["LOGIN", "DEVICE", "CREATED", "REFRESHED", "EXPIRES"]
    assert text[1].split("\t")[1] == "tablet"


def test_unknown_login_ends_none(server: RunningServer, stub) -> None:
    caller = register(stub)
    (login,) = rows(server, "login", "list", caller.name)
    line = refused(server, "login", "end", login["login_id"], "nonsense")
    assert line == "there is no login nonsense: `parley login list NAME` shows their ids"
    assert rows(server, "login", "list", caller.name) == [login]
    assert rows(server, "login", "end", "--user", caller.name) == [{"username": caller.name, "result": "logged out"}]
    assert rows(server, "login", "list", caller.name) == []
    for command in (("login", "list"), ("device", "list")):
        assert refused(server, *command, fresh_name("nobody")).startswith("there is no account nobody-")


def test_deleted_device_loses_logins_positions_and_what_it_did_not_settle(server: RunningServer, stub) -> None:
    alice, bob = register(stub, device_id="phone"), register(stub)
    tablet = log_in(stub, alice.name, "tablet")
    conversation = f"{bob.name}:{alice.name}"
    bob.call("Send", message_pb2.SendRequest(conversation_id=conversation, text="for two devices"))
    call, frames = open_stream(stub, alice, ack_mode=chat_pb2.ACK_MODE_MANUAL)
    assert any(frame.messages for frame in frames)
    other, other_frames = open_stream(stub, tablet)
    position = chat_pb2.Position(conversation_id=":".join(sorted([alice.name, bob.name])), seq=1)
    assert any(frame.messages for frame in other_frames)
    tablet.call("Ack", chat_pb2.AckRequest(positions=[position]))
    other.cancel()
    phone, kept = rows(server, "device", "list", alice.name)
    assert [phone[name] for name in ("device_id", "ack_mode", "streams", "unsettled")] == ["phone", "manual", 1, 1]
    assert (kept["device_id"], kept["ack_mode"], kept["positions"]) == ("tablet", "cumulative", 1)
    (removed,) = rows(server, "device", "delete", alice.name, "phone")
    assert removed == {
        "username": alice.name,
        "device_id": "phone",
        "result": "deleted",
        "logins": 1,
        "positions": 1,
        "unsettled": 1,
        "dead_letters": 0,
    }
    assert ends_unauthenticated(frames)
    call.cancel()
    wait_until(lambda: len(rows(server, "device", "list", alice.name)) == 1, what="the device's end")
    assert [row["device_id"] for row in rows(server, "login", "list", alice.name)] == ["tablet"]
    line = refused(server, "device", "delete", alice.name, "phone")
    assert line == f"{alice.name} has no device phone: `parley device list {alice.name}` shows them"
    again, again_frames = open_stream(stub, log_in(stub, alice.name, "phone"))
    assert any(frame.messages for frame in again_frames), "a device without positions begins where its user has read"
    again.cancel()
