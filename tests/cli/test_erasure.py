"""`parley user delete` and `parley user export` beside a running server."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from parley.v1 import account_pb2, chat_pb2, chat_service_pb2_grpc, conversation_pb2, message_pb2

from tests.support.callers import Caller, register
from tests.support.callers import refused as call_refused
from tests.support.commands import done, on_server, refused, rows
from tests.support.people import PASSWORD, fresh_name
from tests.support.servers import RunningServer
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def stub(server: RunningServer):
    with grpc.insecure_channel(server.target) as channel:
        yield chat_service_pb2_grpc.ChatServiceStub(channel)


def send(caller: Caller, conversation_id: str, text: str, **fields: object) -> message_pb2.Message:
    request = message_pb2.SendRequest(conversation_id=conversation_id, text=text, **fields)
    return caller.call("Send", request).message


def texts(caller: Caller, conversation_id: str) -> list[str]:
    page = caller.call("Pull", message_pb2.PullRequest(conversation_id=conversation_id, limit=500))
    assert [message.seq for message in page.messages] == list(range(1, len(page.messages) + 1))
    return [message.text for message in page.messages if message.HasField("message")]


def replayed(stub, caller: Caller, conversation_id: str) -> list[message_pb2.Message]:
    """What a stream that begins at the start brings."""
    start = chat_pb2.Position(conversation_id=conversation_id, seq=0)
    hello = chat_pb2.Hello(device_id="replay", positions=[start])
    call = stub.Subscribe(
        chat_pb2.SubscribeRequest(hello=hello), metadata=(("authorization", f"Bearer {caller.token}"),), timeout=30
    )
    found: list[message_pb2.Message] = []
    for frame in call:
        found += [message for message in frame.messages if message.conversation_id == conversation_id]
        if any(mark.conversation_id == conversation_id and mark.complete for mark in frame.caught_up):
            call.cancel()
            return found
    raise AssertionError("the stream ended")


def make_group(caller: Caller, *members: Caller) -> str:
    request = conversation_pb2.CreateConversationRequest(title="group", members=[member.name for member in members])
    return str(caller.call("CreateConversation", request).conversation.conversation_id)


def test_deleted_account_is_a_tombstone_out_of_all_groups_and_its_messages_stay(server: RunningServer, stub) -> None:
    alice, bob = register(stub, device_id="phone", display_name="Alice"), register(stub)
    group = make_group(alice, bob)
    direct = ":".join(sorted([alice.name, bob.name]))
    for conversation in (group, direct):
        send(alice, conversation, "hello")
    said = done(server, "user", "delete", alice.name.upper(), "--yes")
    assert said == f"deleted {alice.name}: 1 groups left\n"
    (shown,) = rows(server, "user", "show", alice.name)
    assert (shown["state"], shown["display_name"], shown["has_password"]) == ("deleted", "", False)
    assert (shown["logins"], shown["devices"], shown["groups"]) == (0, 0, 0)
    with call_refused("USERNAME_TAKEN"):
        stub.Register(account_pb2.RegisterRequest(username=alice.name, password=PASSWORD), timeout=20)
    assert refused(server, "user", "create", alice.name) == f"{alice.name} was deleted; a name is never given twice"
    assert refused(server, "user", "create", "--exist-ok", alice.name).startswith(f"{alice.name} was deleted")
    for verb in ("disable", "enable", "logout"):
        assert refused(server, "user", verb, alice.name).startswith(f"{alice.name} was deleted")
    assert texts(bob, direct) == ["hello"]
    page = bob.call("ListMembers", conversation_pb2.ListMembersRequest(conversation_id=group))
    assert [(member.username, member.role) for member in page.members] == [(bob.name, message_pb2.MEMBER_ROLE_OWNER)]
    again = done(server, "user", "delete", alice.name, "--yes")
    assert again == f"{alice.name} had been deleted before: 0 groups left\n"


def test_messages_lose_their_content_everywhere_and_keep_their_places(server: RunningServer, stub) -> None:
    """Also where workers had them in memory as ready bytes: in the tail of a live channel, and in what replays read."""
    alice, bob = register(stub), register(stub)
    group = make_group(bob, alice)
    live = stub.Subscribe(
        chat_pb2.SubscribeRequest(hello=chat_pb2.Hello(device_id="live")),
        metadata=(("authorization", f"Bearer {bob.token}"),),
        timeout=60,
    )
    assert next(live).welcomes
    for nth in range(5):
        send(alice, group, f"secret {nth}", attributes={"key": "secret"}, mentions=[bob.name])
        send(bob, group, f"answer {nth}", reply_to_seq=1)
    for _ in range(4):  # on whichever worker
        assert [message.text for message in replayed(stub, bob, group)][:2] == ["secret 0", "answer 0"]
    (deleted,) = rows(server, "user", "delete", alice.name, "--messages", "--yes")
    assert deleted == {"username": alice.name, "result": "deleted", "is_new": True, "groups": 1, "messages": 5}
    assert texts(bob, group) == [text for nth in range(5) for text in ("", f"answer {nth}")]

    def is_forgotten() -> bool:
        return not any("secret" in str(message) for _ in range(4) for message in replayed(stub, bob, group))

    wait_until(is_forgotten, limit_seconds=20, what="the end of the old text in all workers")
    live.cancel()
    stubs = [message for message in replayed(stub, bob, group) if message.sender == alice.name]
    emptied = [message for message in stubs if message.HasField("message")]
    assert [message.seq for message in emptied] == [1, 3, 5, 7, 9]
    assert not any(message.text or message.attributes or message.mentions for message in emptied)
    assert all(message.HasField("create_time") for message in emptied)
    again = done(server, "user", "delete", alice.name, "--messages", "--yes")
    assert again == f"{alice.name} had been deleted before: 0 groups left, 0 messages emptied\n"


def test_messages_of_an_account_that_is_deleted_already_are_emptied(server: RunningServer, stub) -> None:
    alice, bob = register(stub), register(stub)
    direct = ":".join(sorted([alice.name, bob.name]))
    send(alice, direct, "secret")
    alice.call("DeleteAccount", account_pb2.DeleteAccountRequest(password=PASSWORD))
    (deleted,) = rows(server, "user", "delete", alice.name, "--messages", "--yes")
    assert (deleted["is_new"], deleted["messages"]) == (False, 1)
    assert texts(bob, direct) == [""]


def test_nothing_is_deleted_unless_somebody_says_yes(server: RunningServer, stub) -> None:
    caller = register(stub)
    said = on_server(server, "user", "delete", caller.name)
    assert said.exit_code == 2
    assert "--yes" in said.stderr
    (shown,) = rows(server, "user", "show", caller.name)
    assert shown["state"] == "active"
    assert refused(server, "user", "delete", fresh_name("nobody"), "--yes").startswith("there is no account nobody-")


def test_server_goes_on_with_a_deletion_that_was_killed(server: RunningServer, stub) -> None:
    alice, bob = register(stub), register(stub)
    direct = ":".join(sorted([alice.name, bob.name]))
    for start in range(0, 3000, 500):
        requests = [
            message_pb2.SendRequest(conversation_id=direct, text=f"secret {nth}") for nth in range(start, start + 500)
        ]
        alice.call("BatchSend", message_pb2.BatchSendRequest(requests=requests))
    command = [sys.executable, "-m", "service", "user", "delete", alice.name, "--messages", "--yes"]
    environment = {**os.environ, "PARLEY_DATA_DIR": str(server.data_dir)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "parley: 500 messages are empty so far\n"
        process.send_signal(signal.SIGKILL)

    def is_empty() -> bool:
        page = bob.call("Pull", message_pb2.PullRequest(conversation_id=direct, limit=500, reverse=True))
        return not any(message.text for message in page.messages)

    wait_until(is_empty, limit_seconds=40, what="the server's part")


def test_export_has_all_of_one_user_and_nothing_of_others(server: RunningServer, stub, tmp_path: Path) -> None:
    alice, bob = register(stub, device_id="phone", display_name="Alice"), register(stub)
    group = make_group(bob, alice)
    direct = ":".join(sorted([alice.name, bob.name]))
    send(alice, group, "of alice", attributes={"key": "value"})
    send(bob, group, "of bob")
    send(alice, direct, "to bob", reply_to_seq=0, data=b"\0\1", content_type="x/y")
    send(bob, direct, "to alice")
    alice.call("Ack", chat_pb2.AckRequest(positions=[chat_pb2.Position(conversation_id=group, seq=2)]))
    alice.call("MarkRead", conversation_pb2.MarkReadRequest(conversation_id=group, seq=1))
    printed = done(server, "user", "export", alice.name)
    records = [json.loads(line) for line in printed.splitlines()]
    by_type: dict[str, list[dict[str, object]]] = {}
    for record in records:
        by_type.setdefault(record["type"], []).append(record)
    assert list(by_type) == ["account", "login", "device", "membership", "position", "message", "end"]
    (account,) = by_type["account"]
    assert (account["username"], account["display_name"]) == (alice.name, "Alice")
    assert [device["device_id"] for device in by_type["device"]] == ["phone"]
    memberships = {one["conversation_id"]: one for one in by_type["membership"]}
    assert set(memberships) == {group, direct}
    assert [memberships[group][name] for name in ("role", "read_seq", "delivered_seq")] == ["MEMBER", 1, 2]
    sent = {one["text"]: one for one in by_type["message"]}
    assert set(sent) == {"of alice", "to bob"}
    assert sent["of alice"]["attributes"] == {"key": "value"}
    assert (sent["to bob"]["data"], sent["to bob"]["content_type"]) == ("AAE=", "x/y")
    assert by_type["end"][0]["records"] == {kind: len(found) for kind, found in by_type.items() if kind != "end"}
    for hidden in ("of bob", "to alice", "hash", "title", "argon2"):
        assert hidden not in printed
    file = tmp_path / "alice.jsonl"
    assert done(server, "user", "export", alice.name, "--output", str(file)) == ""
    assert file.read_text().splitlines()[:-1] == printed.splitlines()[:-1]
    assert file.stat().st_mode & 0o777 == 0o600
    assert refused(server, "user", "export", alice.name, "--output", str(file)) == (
        f"{file} is there already: name another file"
    )
    nowhere = tmp_path / "none" / "file"
    assert "can't be written: No such file or directory" in refused(
        server, "user", "export", alice.name, "--output", str(nowhere)
    )
    assert refused(server, "user", "export", fresh_name("nobody"), "--output", str(tmp_path / "x")).startswith(
        "there is no account nobody-"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["alice.jsonl"]
