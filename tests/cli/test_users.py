"""`parley user ...` beside a running server: what each command does, prints, and refuses."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import grpc
import pytest
from parley.v1 import account_pb2, chat_service_pb2_grpc, conversation_pb2, message_pb2

from storage.embedded import EmbeddedPostgres
from tests.support.callers import Caller, register
from tests.support.callers import refused as call_refused
from tests.support.commands import command, done, on_server, refused, rows
from tests.support.people import PASSWORD, fresh_name
from tests.support.servers import RunningServer
from tests.support.waiting import wait_for, wait_until


@pytest.fixture(scope="module")
def stub(server: RunningServer):
    with grpc.insecure_channel(server.target) as channel:
        yield chat_service_pb2_grpc.ChatServiceStub(channel)


def log_in(stub, name: str, password: str) -> Caller:
    answer = stub.Login(account_pb2.LoginRequest(username=name, password=password, device_id="phone"), timeout=20)
    return Caller(stub, name, answer.access_token, answer.refresh_token)


def is_out(caller: Caller) -> bool:
    try:
        caller.call("GetUser", account_pb2.GetUserRequest())
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.UNAUTHENTICATED
    return False


def test_list_is_by_name_and_takes_a_prefix_a_state_a_place_and_a_limit(server: RunningServer) -> None:
    prefix = fresh_name()
    names = [f"{prefix}{letter}" for letter in "abcd"]
    done(server, "user", "create", *names)
    done(server, "user", "disable", names[1])
    listed = rows(server, "user", "list", "--prefix", prefix.upper())
    assert [row["username"] for row in listed] == names
    assert [row["state"] for row in listed] == ["active", "disabled", "active", "active"]
    assert set(listed[0]) == {
        *("username", "state", "has_password", "display_name", "create_time", "disable_time", "delete_time")
    }
    assert listed[0]["create_time"].endswith("Z")
    place = ["user", "list", "--prefix", prefix]
    assert [row["username"] for row in rows(server, *place, "--state", "disabled")] == [names[1]]
    assert [row["username"] for row in rows(server, *place, "--limit", "2")] == names[:2]
    assert [row["username"] for row in rows(server, *place, "--after", names[1], "--limit", "1")] == [names[2]]
    assert rows(server, *place, "--after", names[3]) == []
    assert [line.split("\t")[0] for line in done(server, *place).splitlines()] == ["NAME", *names]


def test_show_counts_what_an_account_has(server: RunningServer, stub) -> None:
    alice, bob = register(stub, device_id="phone"), register(stub)
    for text in ("one", "two"):
        bob.call("Send", message_pb2.SendRequest(conversation_id=f"{bob.name}:{alice.name}", text=text))
    bob.call("CreateConversation", conversation_pb2.CreateConversationRequest(title="g", members=[alice.name]))
    (shown,) = rows(server, "user", "show", alice.name.upper())
    assert shown["username"] == alice.name
    assert shown["state"] == "active"
    assert shown["has_password"] is True
    counts = ("logins", "devices", "streams", "direct_conversations", "groups", "unread", "unsettled", "dead_letters")
    assert [shown[name] for name in counts] == [1, 0, 0, 1, 1, 2, 0, 0]
    assert shown["last_seen_time"].endswith("Z")
    text = done(server, "user", "show", alice.name)
    assert "conversations:\t1 direct, 1 groups" in text
    assert "unread messages:\t2" in text
    assert refused(server, "user", "show", fresh_name("nobody")).startswith("there is no account nobody-")


def test_create_makes_all_or_none_and_says_what_it_left(server: RunningServer) -> None:
    old, new, other = sorted(fresh_name() for _ in range(3))
    assert done(server, "user", "create", old) == f"made {old}\n"
    assert refused(server, "user", "create", new, old) == f"the name is somebody's: {old}"
    assert rows(server, "user", "list", "--prefix", new) == []
    assert done(server, "user", "create", "--exist-ok", new, old) == "".join(
        sorted([f"left {old} as it is\n", f"made {new}\n"], key=lambda line: line.split()[1])
    )
    made = rows(server, "user", "create", "--exist-ok", other, old)
    assert {row["username"]: row["result"] for row in made} == {old: "left", other: "made"}


def test_account_without_a_password_is_given_one_and_a_lost_one_is_replaced(server: RunningServer, stub) -> None:
    name = fresh_name()
    done(server, "user", "create", name)
    said = done(server, "user", "password", name, "--password-stdin", stdin="first password\n")
    assert said == f"set the password of {name}; its logins end; it had none, and can log in now\n"
    first = log_in(stub, name, "first password")
    said = done(server, "user", "password", name, "--password-stdin", stdin="other password")
    assert said == f"set the password of {name}; its logins end\n"
    wait_until(lambda: is_out(first), what="the end of the login")
    with call_refused("BAD_CREDENTIALS"):
        log_in(stub, name, "first password")
    log_in(stub, name, "other password")


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"", b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("beginning", [b"", b"\xef\xbb\xbf"])
def test_ends_of_lines_and_byte_order_marks_are_no_part_of_a_password(
    server: RunningServer, stub, beginning: bytes, ending: bytes
) -> None:
    name = fresh_name()
    stdin = beginning + "pässwörd one".encode() + ending
    result = on_server(server, "user", "create", name, "--password-stdin", stdin=stdin)
    assert result.exit_code == 0, result.output
    is_trimmed = bool(beginning) or ending.startswith(b"\r")
    assert ("left out the carriage return" in result.stderr) == is_trimmed
    log_in(stub, name, "pässwörd one")


@pytest.mark.parametrize(
    ("stdin", "line"),
    [
        (b"", "standard input holds no password"),
        (b"\r\n", "standard input holds no password"),
        (b"one password\ntwo password\n", "standard input holds more than one line; the password is one line"),
        (b"p\xe4ssword\n", "the password on standard input is not UTF-8"),
        (b"short\n", "password: must take 8 to 256 bytes, not 5"),
        (b"a" * 257, "password: must take 8 to 256 bytes, not 257"),
        (b"null\0null\n", "password: must not contain NUL characters"),
    ],
)
def test_password_that_can_not_be_one_changes_nothing(server: RunningServer, stub, stdin: bytes, line: str) -> None:
    caller = register(stub)
    said = on_server(server, "user", "password", caller.name, "--password-stdin", stdin=stdin)
    assert said.exit_code == 1
    assert line in said.stderr.splitlines()[-1]
    log_in(stub, caller.name, PASSWORD)
    assert not is_out(caller)


def test_password_asks_nobody_where_there_is_no_terminal(server: RunningServer, stub) -> None:
    caller = register(stub)
    said = on_server(server, "user", "password", caller.name, stdin="some password\n")
    assert said.exit_code == 2
    assert "--password-stdin" in said.stderr
    log_in(stub, caller.name, PASSWORD)


def test_logout_ends_logins_and_streams_and_lets_the_user_in_again(server: RunningServer, stub) -> None:
    caller = register(stub)
    assert done(server, "user", "logout", caller.name.upper()) == f"logged out {caller.name}\n"
    wait_until(lambda: is_out(caller), what="the end of the login")
    with call_refused("TOKEN_INVALID"):
        stub.RefreshToken(account_pb2.RefreshTokenRequest(refresh_token=caller.refresh_token), timeout=20)
    log_in(stub, caller.name, PASSWORD)


@pytest.mark.parametrize("verb", ["disable", "enable", "logout", "password", "show"])
def test_unknown_name_is_refused_before_anything_is_changed(server: RunningServer, stub, verb: str) -> None:
    caller, nobody = register(stub), fresh_name("a")
    names = [nobody] if verb in ("password", "show") else [caller.name, nobody]
    options = ["--password-stdin"] if verb == "password" else []
    assert refused(server, "user", verb, *names, *options, stdin="a good password\n") == f"there is no account {nobody}"
    (shown,) = rows(server, "user", "show", caller.name)
    assert (shown["state"], shown["logins"]) == ("active", 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "create"),
        ("user", "logout"),
        ("user", "show"),
        ("user", "list", "--limit", "0"),
        ("user", "list", "--state", "gone"),
        ("user", "create", "--stdin", "--password-stdin"),
        ("login", "end"),
        ("login", "end", "abc", "--user", "alice"),
        ("device", "delete", "alice"),
        ("user", "nonsense"),
    ],
)
def test_wrong_use_is_status_2(arguments: tuple[str, ...]) -> None:
    said = command(*arguments)
    assert said.exit_code == 2
    assert "Usage: parley" in said.stderr


def test_names_that_are_none_are_refused_in_one_line(server: RunningServer) -> None:
    for verb in ("create", "disable", "logout"):
        line = refused(server, "user", verb, "alice", "no such name")
        assert line.startswith("'no such name' is no user name: must be 3 to 32 of a-z")
        assert "must be 3 to 32 of a-z" in refused(server, "user", verb, "--stdin", stdin=b"n\xe4me\n")


def test_several_names_come_from_standard_input(server: RunningServer) -> None:
    names = sorted(fresh_name() for _ in range(3))
    made = rows(server, "user", "create", "--stdin", stdin="\ufeff" + "\r\n".join(names) + "\r\n")
    assert [row["username"] for row in made] == names
    assert json.dumps([row["result"] for row in made]) == '["made", "made", "made"]'


async def hold_until_asked_again(server: RunningServer, username: str) -> None:
    """Keeps an account's row locked, as whoever is just changing it does, until somebody has waited for it twice."""
    url = EmbeddedPostgres(server.data_dir).url
    holder = await asyncpg.connect(url, server_settings={"search_path": "parley"})
    looker = await asyncpg.connect(url)  # within its transaction the holder would see what was at the first look
    waits = set()

    async def has_been_asked_twice() -> bool:
        rows = await looker.fetch(
            "SELECT query_start FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))", holder.get_server_pid()
        )
        waits.update(row["query_start"] for row in rows)
        return len(waits) > 1

    try:
        async with holder.transaction():
            await holder.execute("SELECT 1 FROM users WHERE username = $1 FOR UPDATE", username)
            await wait_for(has_been_asked_twice, what="a second attempt")
    finally:
        await holder.close()
        await looker.close()


def test_account_that_somebody_else_changes_just_now_is_waited_for(server: RunningServer, stub) -> None:
    name = register(stub).name
    with ThreadPoolExecutor(1) as other:
        holding = other.submit(lambda: asyncio.run(hold_until_asked_again(server, name)))
        wait_until(lambda: is_locked(server) or holding.done(), what="the lock")
        assert done(server, "user", "disable", name) == f"disabled {name}\n"
        holding.result(20)


def is_locked(server: RunningServer) -> bool:
    """Whether somebody holds rows of `users`."""

    async def count() -> int:
        connection = await asyncpg.connect(EmbeddedPostgres(server.data_dir).url)
        try:
            return int(
                await connection.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE relation = 'parley.users'::regclass AND mode = 'RowShareLock'"
                )
            )
        finally:
            await connection.close()

    return asyncio.run(count()) > 0
