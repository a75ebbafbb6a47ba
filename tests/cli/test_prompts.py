"""What commands ask on a terminal: a password twice, and whether something is to go for good."""

from collections.abc import Iterator

import grpc
import pytest
from parley.v1 import account_pb2, chat_service_pb2_grpc

from tests.support.callers import register
from tests.support.commands import rows
from tests.support.servers import RunningServer
from tests.support.terminals import Terminal


@pytest.fixture(scope="module")
def stub(server: RunningServer) -> Iterator[chat_service_pb2_grpc.ChatServiceStub]:
    with grpc.insecure_channel(server.target) as channel:
        yield chat_service_pb2_grpc.ChatServiceStub(channel)


def on_terminal(server: RunningServer, *arguments: str) -> Terminal:
    return Terminal(["-m", "service", *arguments], {"PARLEY_DATA_DIR": str(server.data_dir)})


def test_password_is_asked_for_twice_and_not_shown(server: RunningServer, stub) -> None:
    name = register(stub).name
    terminal = on_terminal(server, "user", "password", name)
    seen = ""
    for prompt, answer in (
        ("New password: ", "another password"),
        ("The same again: ", "a slip of the keys"),
        ("do not match", ""),
        ("New password: ", "another password"),
        ("The same again: ", "another password"),
    ):
        seen += terminal.sees(prompt)
        if answer:
            terminal.types(answer + "\n")
    seen += terminal.sees(f"set the password of {name}; its logins end")
    assert "another" not in seen
    assert terminal.ends() == 0
    stub.Login(account_pb2.LoginRequest(username=name, password="another password"), timeout=20)


def test_unknown_name_is_told_before_a_password_is_asked_for(server: RunningServer) -> None:
    terminal = on_terminal(server, "user", "password", "nobody-at-all")
    assert "New password" not in terminal.sees("parley: there is no account nobody-at-all")
    assert terminal.ends() == 1


@pytest.mark.parametrize(("answer", "status", "state"), [("n", 1, "active"), ("", 1, "active"), ("y", 0, "deleted")])
def test_deletion_asks_first(server: RunningServer, stub, answer: str, status: int, state: str) -> None:
    name = register(stub).name
    terminal = on_terminal(server, "user", "delete", name.upper(), "--messages")
    terminal.sees(f"Delete the account {name} and the content of all its messages for good? [y/N]: ")
    terminal.types(answer + "\n")
    terminal.sees("deleted" if status == 0 else "parley: nothing was done")
    assert terminal.ends() == status
    (shown,) = rows(server, "user", "show", name)
    assert shown["state"] == state


@pytest.mark.parametrize("verb", ["password", "delete"])
def test_ctrl_c_at_a_question_changes_nothing(server: RunningServer, stub, verb: str) -> None:
    name = register(stub).name
    terminal = on_terminal(server, "user", verb, name)
    terminal.is_asked(": ")
    terminal.types("\x03")
    assert terminal.ends() != 0
    (shown,) = rows(server, "user", "show", name)
    assert (shown["state"], shown["logins"]) == ("active", 1)
