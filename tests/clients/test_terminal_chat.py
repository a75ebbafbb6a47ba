"""The terminal chat, driven in a pseudo-terminal as a person would."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import termios
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc
import pexpect
import pytest
from parley.v1 import account_pb2, chat_service_pb2_grpc, message_pb2
from pexpect import fdpexpect

from tests.clients.conftest import EXAMPLES
from tests.support.proxy import open_proxy
from tests.support.terminals import TAKE_TERMINAL

PASSWORD = "a long enough password"
LIMIT_SECONDS = 15


def fresh_name(stem: str) -> str:
    return f"{stem}-{uuid.uuid4().hex[:8]}"


class Person:
    """Somebody at a terminal of 24 rows and 80 columns.

    subprocess starts the program, and not pexpect, which forks: a fork of a process that uses gRPC may hang.
    """

    def __init__(
        self,
        target: str,
        name: str,
        *arguments: str,
        knows_password: bool = True,
        term: str = "xterm",
        python: Sequence[str] = (sys.executable,),
    ) -> None:
        environment = {**os.environ, "TERM": term, "PYTHONWARNINGS": "default"}
        if knows_password:
            arguments = ("--user", name, "--register", *arguments)
            environment["PARLEY_PASSWORD"] = PASSWORD
        self.name = name
        self._terminal, inner = os.openpty()
        self.resize(24, 80)
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *python, str(EXAMPLES / "terminal_chat"), target, *arguments],
            env=environment,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
        )
        os.close(inner)
        self._screen = fdpexpect.fdspawn(self._terminal, encoding="utf-8", timeout=LIMIT_SECONDS)

    def sees(self, text: str) -> str:
        """Waits for a text and returns what stood before it."""
        return self.sees_like(re.escape(text))

    def sees_like(self, pattern: str) -> str:
        """As `sees`, for a pattern; fails with all that was seen since the last text that was waited for."""
        found = self._screen.expect([pattern, pexpect.EOF, pexpect.TIMEOUT])
        assert found == 0, f"{pattern} did not come; seen: {self._screen.before!r}"
        return str(self._screen.before)

    def types(self, text: str) -> None:
        self._screen.send(text)

    def resize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self._terminal, (rows, columns))

    def settings(self) -> list[Any]:
        return termios.tcgetattr(self._terminal)

    def leaves(self) -> int:
        """Waits for the program's end and returns its exit code; it must not have ended with a traceback."""
        self._screen.expect(pexpect.EOF)
        assert "Traceback" not in str(self._screen.before)
        return self.process.wait(LIMIT_SECONDS)

    def hangs_up(self) -> int:
        """Closes the terminal under the program, as its window would; waits for its end and returns its exit code."""
        self._screen.close()
        return self.process.wait(LIMIT_SECONDS)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._screen.close()


@contextlib.contextmanager
def at_terminals(*people: Person) -> Iterator[None]:
    try:
        yield
    finally:
        for person in people:
            person.close()


async def drive(work: Callable[[], object]) -> None:
    """pexpect blocks, and the server may share this loop."""
    await asyncio.to_thread(work)


async def texts_of(target: str, name: str) -> list[str]:
    """The texts that a user has sent to itself."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = chat_service_pb2_grpc.ChatServiceStub(channel)
        answer = await stub.Login(account_pb2.LoginRequest(username=name, password=PASSWORD))
        page = await stub.Pull(
            message_pb2.PullRequest(conversation_id=f"{name}:{name}"),
            metadata=[("authorization", f"Bearer {answer.access_token}")],
        )
        return [message.text for message in page.messages]


async def test_two_people_talk(server: Any) -> None:
    def work() -> None:
        bob = Person(server.target, fresh_name("bob"))
        with at_terminals(bob):
            bob.sees("/help lists the commands")
            ada = Person(server.target, fresh_name("ada"), "--conversation", bob.name)
            with at_terminals(ada):
                ada.sees(f"--- {bob.name} ---")
                ada.types("hello 日本 👍\r")
                ada.sees_like(rf"\d\d:\d\d {ada.name}: hello 日本 👍")
                bob.sees_like(rf"\[{ada.name}\] \d\d:\d\d {ada.name}: hello 日本 👍")

                bob.types(f"/join {ada.name}\r")
                bob.sees(f"--- {ada.name} ---")
                bob.types("w")
                ada.sees(f"({bob.name} writes)>")
                bob.types("ell\r")
                ada.sees(f"{bob.name}: well")

                ada.types("/who\r")
                ada.sees(f"{bob.name}: online")
                bob.types("\x04")
                assert bob.leaves() == 0
                ada.sees(f"{bob.name} is offline")
                ada.types("/quit\r")
                assert ada.leaves() == 0

    await drive(work)


async def test_group_has_history_for_those_who_come_back(server: Any) -> None:
    def work() -> None:
        bob = Person(server.target, fresh_name("bob"))
        with at_terminals(bob):
            bob.sees("/help lists the commands")
            bob.types("/quit\r")
            assert bob.leaves() == 0
        title = fresh_name("garden")
        ada = Person(server.target, fresh_name("ada"))
        with at_terminals(ada):
            ada.sees("no conversations yet")
            ada.types(f"/new {title} {bob.name}\r")
            ada.sees(f"--- {title} ---")
            ada.types("while you were away\r")
            ada.sees(f"{ada.name}: while you were away")
            ada.types("\x03")
            assert ada.leaves() == 0
        again = Person(server.target, bob.name)
        with at_terminals(again):
            again.sees(f"{title} (1 unread)")
            again.sees(f"{ada.name}: while you were away")
            again.types(f"/join {title}\r")
            again.sees(f"--- {title} ---")
            again.sees(f"{ada.name}: while you were away")
            again.types("/who\r")
            again.sees_like(rf"{ada.name}: offline, last seen \d\d\d\d")

    await drive(work)


async def test_what_history_and_the_stream_both_bring_is_shown_once(server: Any) -> None:
    def work() -> None:
        ada, bob = fresh_name("ada"), fresh_name("bob")
        for name in (ada, bob):
            person = Person(server.target, name, "--conversation", f"{name}:{name}")
            with at_terminals(person):
                person.sees("notes to self>")
        writer = Person(server.target, ada, "--conversation", bob)
        with at_terminals(writer):
            writer.types("only once\r")
            writer.sees(f"{ada}: only once")
            reader = Person(server.target, bob, "--conversation", ada)
            with at_terminals(reader):
                reader.sees(f"{ada}: only once")
                writer.types("and then\r")  # comes after what the stream brings from before
                assert "only once" not in reader.sees(f"{ada}: and then")

    await drive(work)


@pytest.mark.parametrize("way", ["ctrl-c", "ctrl-d", "quit", "sigterm", "sighup"])
async def test_terminal_is_left_as_it_was(server: Any, way: str) -> None:
    def work() -> None:
        ada = Person(server.target, fresh_name("ada"), knows_password=False)
        with at_terminals(ada):
            ada.sees("user name: ")
            before = ada.settings()
            ada.types(f"{ada.name}\r")
            ada.sees("password: ")
            ada.types(f"{PASSWORD}\r")
            ada.sees("[y/N] ")
            ada.types("y\r")
            ada.sees("/help lists the commands")
            ada.sees("parley>")
            assert ada.settings() != before
            keys = {"ctrl-c": "\x03", "ctrl-d": "\x04", "quit": "/quit\r"}
            if way in keys:
                ada.types(keys[way])
            else:
                ada.process.send_signal(getattr(signal, way.upper()))
            assert ada.leaves() == 0
            assert ada.settings() == before

    await drive(work)


@pytest.mark.parametrize("way", ["ctrl-c", "sigterm"])
async def test_echo_comes_back_when_the_password_is_not_given(server: Any, way: str) -> None:
    def work() -> None:
        ada = Person(server.target, fresh_name("ada"), knows_password=False)
        with at_terminals(ada):
            ada.sees("user name: ")
            before = ada.settings()
            ada.types(f"{ada.name}\r")
            ada.sees("password: ")
            if way == "ctrl-c":
                ada.types("\x03")
            else:
                ada.process.send_signal(signal.SIGTERM)
            assert ada.leaves() > 0
            assert ada.settings() == before

    await drive(work)


async def test_wrong_password_is_one_line(server: Any) -> None:
    name = fresh_name("ada")
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub: Any = chat_service_pb2_grpc.ChatServiceStub(channel)
        await stub.Register(account_pb2.RegisterRequest(username=name, password="another password"))

    def work() -> None:
        ada = Person(server.target, name)
        with at_terminals(ada):
            ada.sees("wrong password")
            assert ada.leaves() == 1

    await drive(work)


async def test_received_text_cannot_steer_the_terminal(server: Any) -> None:
    ada, eve = fresh_name("ada"), fresh_name("eve")
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub: Any = chat_service_pb2_grpc.ChatServiceStub(channel)
        person = await asyncio.to_thread(Person, server.target, ada)
        with at_terminals(person):
            await drive(lambda: person.sees("/help lists the commands"))
            answer = await stub.Register(account_pb2.RegisterRequest(username=eve, password=PASSWORD))
            text = "\x1b]0;owned\x07\x1b[2J\x9b5n end"
            request = message_pb2.SendRequest(conversation_id=f"{ada}:{eve}", text=text)
            await stub.Send(request, metadata=[("authorization", f"Bearer {answer.access_token}")])
            shown = await asyncio.to_thread(person.sees, " end")
            assert "␛]0;owned" in shown
            assert not re.search(r"\x1b\]|\x1b\[2J|\x9b|\x07", shown)


async def test_message_typed_without_a_server_arrives_once(server: Any) -> None:
    async with open_proxy(server.target) as proxy:
        name = fresh_name("ada")
        ada = await asyncio.to_thread(Person, proxy.target, name, "--conversation", f"{name}:{name}")
        with at_terminals(ada):
            await drive(lambda: ada.sees("--- notes to self ---"))
            await drive(lambda: ada.types("one\r"))
            await drive(lambda: ada.sees(f"{name}: one"))
            proxy.cut()
            await drive(lambda: ada.sees("connection lost"))
            await drive(lambda: ada.types("two\r"))
            await drive(lambda: ada.sees("it will be sent when the server is back"))
            proxy.restore()
            await drive(lambda: ada.sees("connected again"))
            await drive(lambda: ada.sees(f"{name}: two"))
            await drive(lambda: ada.types("/quit\r"))
            assert await asyncio.to_thread(ada.leaves) == 0
    assert await texts_of(server.target, name) == ["one", "two"]


async def test_line_wider_than_the_terminal_and_a_resize_keep_one_row(server: Any) -> None:
    def work() -> None:
        name = fresh_name("ada")
        ada = Person(server.target, name, "--conversation", f"{name}:{name}")
        with at_terminals(ada):
            ada.sees("notes to self>")
            ada.types("日本" * 40)
            ada.resize(24, 30)
            ada.types(" end\r")
            ada.sees(f"{name}: " + "日本" * 40 + " end")

    await drive(work)


async def test_no_server_is_one_line() -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(EXAMPLES / "terminal_chat"), "127.0.0.1:1", "--user", "ada"],
        env={**os.environ, "PARLEY_PASSWORD": PASSWORD},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "terminal chat: the server can't be reached\n"


async def test_a_paste_of_many_lines_is_one_message(server: Any) -> None:
    def work() -> None:
        ada = Person(server.target, fresh_name("ada"))
        with at_terminals(ada):
            ada.sees("\x1b[?2004h")  # it asks for pastes to be marked
            ada.sees("/help lists the commands")
            ada.types(f"/join {ada.name}\r")
            ada.sees("--- notes to self ---")
            lines = [f"line {number}" for number in range(1, 13)]
            ada.types("\x1b[200~" + "\r".join(lines) + "\x1b[201~\r")
            ada.sees_like(rf"\d\d:\d\d {ada.name}: line 1\r\n" + "".join(rf"      {line}\r\n" for line in lines[1:]))
            ada.types("after\r")
            assert "line" not in ada.sees(f"{ada.name}: after")
            ada.types("/quit\r")
            ada.sees("\x1b[?2004l")
            assert ada.leaves() == 0

    await drive(work)


async def test_a_group_is_given_away_and_its_owner_leaves(server: Any) -> None:
    def work() -> None:
        bob = Person(server.target, fresh_name("bob"))
        with at_terminals(bob):
            bob.sees("/help lists the commands")
            ada = Person(server.target, fresh_name("ada"))
            with at_terminals(ada):
                ada.sees("/help lists the commands")
                title = fresh_name("garden")
                ada.types(f"/new {title} {bob.name}\r")
                ada.sees(f"--- {title} ---")
                bob.types(f"/join {title}\r")
                bob.sees(f"--- {title} ---")
                ada.types("/leave\r")
                ada.sees("/role NAME owner")
                bob.types(f"/role {bob.name} owner\r")
                bob.sees("* As MEMBER you may not")
                ada.types(f"/role {bob.name} owner\r")
                bob.sees(f"{ada.name} made {bob.name} owner")
                ada.types("/leave\r")
                bob.sees(f"{ada.name} left")
                bob.types(f"/role {bob.name} member\r")
                bob.sees("/role NAME owner")

    await drive(work)
