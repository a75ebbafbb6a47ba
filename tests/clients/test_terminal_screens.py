"""The terminal chat at terminals of several kinds, and what the line does while messages come."""

import asyncio
import os
import signal
import subprocess
import sys
from typing import Any

import psutil
import pytest

from tests.clients.conftest import EXAMPLES
from tests.clients.test_terminal_chat import (
    LIMIT_SECONDS,
    PASSWORD,
    Person,
    at_terminals,
    drive,
    fresh_name,
    texts_of,
)
from tests.support.waiting import wait_until

# Runs a program as if prompt_toolkit were not installed.
WITHOUT_EDITOR = (
    "import runpy, sys; sys.modules['prompt_toolkit'] = None; del sys.argv[0];"
    " runpy.run_path(sys.argv[0], run_name='__main__')"
)


async def test_line_that_was_begun_stays_while_messages_come(server: Any) -> None:
    def work() -> None:
        bob = Person(server.target, fresh_name("bob"))
        ada = Person(server.target, fresh_name("ada"))
        with at_terminals(bob, ada):
            bob.sees("/help lists the commands")
            assert "\x1b[6n" not in ada.sees("/help lists the commands")  # it waits for no answer of the terminal
            ada.types(f"/join {bob.name}\r")
            ada.sees(f"--- {bob.name} ---")
            ada.sees(f"{bob.name}>")
            ada.types("half")
            ada.sees("half")
            bob.types(f"/join {ada.name}\r")
            bob.sees(f"--- {ada.name} ---")
            bob.types("one\r")
            shown = ada.sees(f"{bob.name}: one\r\n") + ada.sees("half")  # drawn again, below the message
            assert "\x1b[?2004l" not in shown  # a paste would be taken for lines meanwhile
            ada.types(" and half\r")
            bob.sees(f"{ada.name}: half and half\r\n")

    await drive(work)


async def test_stopped_program_leaves_the_terminal_and_takes_it_again(server: Any) -> None:
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
            ada.sees("parley>")
            during = ada.settings()
            program = psutil.Process(ada.process.pid)
            for stop in (lambda: ada.types("\x1a"), lambda: ada.process.send_signal(signal.SIGTSTP)):
                stop()
                ada.sees("\x1b[?2004l")
                wait_until(lambda: program.status() == psutil.STATUS_STOPPED, what="a program that is stopped")
                assert ada.settings()[3] == before[3]  # echo, lines, signals
                ada.process.send_signal(signal.SIGCONT)
                ada.sees("\x1b[?2004h")
                ada.sees("parley>")
                assert ada.settings() == during
            ada.types("/quit\r")
            assert ada.leaves() == 0

    await drive(work)


async def test_chat_ends_with_its_terminal(server: Any) -> None:
    def work() -> None:
        ada = Person(server.target, fresh_name("ada"))
        with at_terminals(ada):
            ada.sees("parley>")
            assert ada.hangs_up() == 0

    await drive(work)


def talks_to_self(ada: Person) -> None:
    ada.types(f"/join {ada.name}\r")
    ada.sees("--- notes to self ---")
    ada.types("日本\r")
    shown = ada.sees(f"{ada.name}: 日本")
    assert "\x1b" not in shown
    ada.types("\x04")
    assert ada.leaves() == 0


async def test_terminal_that_can_not_draw_has_plain_lines(server: Any) -> None:
    def work() -> None:
        ada = Person(server.target, fresh_name("ada"), term="dumb")
        with at_terminals(ada):
            assert "\x1b" not in ada.sees("/help lists the commands")
            talks_to_self(ada)

    await drive(work)


async def test_without_prompt_toolkit_there_are_plain_lines_and_a_line_says_so(server: Any) -> None:
    def work() -> None:
        ada = Person(server.target, fresh_name("ada"), python=(sys.executable, "-c", WITHOUT_EDITOR))
        with at_terminals(ada):
            assert 'pip install "./clients/python[terminal]"' in ada.sees("/help lists the commands")
            talks_to_self(ada)

    await drive(work)


async def test_ctrl_c_leaves_plain_lines(server: Any) -> None:
    def work() -> None:
        ada = Person(server.target, fresh_name("ada"), term="dumb")
        with at_terminals(ada):
            ada.sees("/help lists the commands")
            ada.sees("no conversations yet")
            ada.types("\x03")
            assert ada.leaves() == 0

    await drive(work)


async def test_signal_ends_a_chat_whose_pipe_stays_open(server: Any) -> None:
    def work() -> None:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "terminal_chat"), server.target, "--user", fresh_name("ada"), "--register"],
            env={**os.environ, "PARLEY_PASSWORD": PASSWORD},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        with process:
            assert process.stdout is not None
            while "no conversations yet" not in process.stdout.readline():
                pass
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=LIMIT_SECONDS)
            assert (process.returncode, said) == (0, "")

    await drive(work)


async def pipes(target: str, name: str, lines: bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs the chat with notes to itself from a pipe, to the end."""
    return await asyncio.to_thread(
        subprocess.run,
        [
            sys.executable, str(EXAMPLES / "terminal_chat"), target,
            "--user", name, "--register", "--conversation", f"{name}:{name}",
        ],
        env={**os.environ, "PARLEY_PASSWORD": PASSWORD, **environment},
        input=lines,
        capture_output=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )  # fmt: skip


async def test_lines_from_a_pipe_are_sent(server: Any) -> None:
    name = fresh_name("ada")
    done = await pipes(server.target, name, "first\n日本\n".encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout
    assert await texts_of(server.target, name) == ["first", "日本"]


@pytest.mark.parametrize("encoding", ["utf-8:strict", "utf-8:surrogateescape"])
async def test_bytes_that_are_no_text_are_marked(server: Any, encoding: str) -> None:
    name = fresh_name("ada")
    done = await pipes(server.target, name, b"a\xffb\nnext\n", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert await texts_of(server.target, name) == ["a\ufffdb", "next"]
