"""The line that the user types: keys in by a pipe, events out. Terminals are in test_terminal_chat.py."""

import contextlib
import fcntl
import struct
import termios
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput
from terminal_chat.editor import EditorScreen
from terminal_chat.keys import LONGEST, clean
from terminal_chat.screen import Event, Signal, Submitted

from tests.support.waiting import wait_for

LEFT, RIGHT, UP, DOWN, RUBOUT = "\x1b[D", "\x1b[C", "\x1b[A", "\x1b[B", "\x7f"


def pasted(text: str) -> str:
    return f"\x1b[200~{text}\x1b[201~"


@dataclass(slots=True)
class Typist:
    """Somebody at the editor."""

    screen: EditorScreen
    keys: PipeInput

    async def types(self, *pieces: str | bytes) -> None:
        """Types; each piece is read before the next one comes."""
        for piece in pieces:
            self.keys.send_bytes(piece.encode() if isinstance(piece, str) else piece)
            await wait_for(self._is_read, what="a program that reads")

    def _is_read(self) -> bool:
        return struct.unpack("i", fcntl.ioctl(self.keys.fileno(), termios.FIONREAD, b"\0" * 4)) == (0,)

    async def events(self, *pieces: str | bytes) -> list[Event]:
        """Types, and Enter; gives the events up to that of Enter, each run of equal ones as one."""
        await self.types(*pieces, "\r")
        events: list[Event] = []
        while not events or not isinstance(events[-1], Submitted):
            event = await self.screen.events.get()
            events += [event] if events[-1:] != [event] else []
        return events

    async def line(self, *pieces: str | bytes) -> str:
        """Types, and Enter; gives the line."""
        submitted = (await self.events(*pieces))[-1]
        assert isinstance(submitted, Submitted)
        return submitted.line


@contextlib.asynccontextmanager
async def editing() -> AsyncIterator[Typist]:
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        screen = EditorScreen(DummyOutput())
        screen.start()
        try:
            yield Typist(screen, keys)
        finally:
            await screen.stop()


async def test_enter_gives_the_line() -> None:
    async with editing() as typist:
        assert await typist.events("hé 日") == [Signal.EDITED, Submitted("hé 日")]
        assert await typist.line("next") == "next"
        await typist.types("a\nb\n")
        lines = [await typist.screen.events.get() for _ in range(4)]
        assert lines == [Signal.EDITED, Submitted("a"), Signal.EDITED, Submitted("b")]


async def test_a_paste_is_one_line_with_its_line_ends_and_only_enter_sends_it() -> None:
    async with editing() as typist:
        events = await typist.events("so: ", pasted("one\r\ntwo\rthree\n\tfour"))
        assert events == [Signal.EDITED, Submitted("so: one\ntwo\nthree\n\tfour")]


async def test_the_last_line_end_of_a_paste_is_left_out() -> None:
    async with editing() as typist:
        assert await typist.line(pasted("one\rtwo\r")) == "one\ntwo"


async def test_nothing_in_a_paste_is_a_command() -> None:
    async with editing() as typist:
        assert await typist.events(pasted("a\x03\x04\x15\x1a\x1b[31mb")) == [Signal.EDITED, Submitted("a[31mb")]


async def test_a_paste_that_no_message_takes_is_refused_whole() -> None:
    async with editing() as typist:
        events = await typist.events("kept", pasted("x" * LONGEST))
        assert events == [Signal.EDITED, Signal.TOO_LONG, Submitted("kept")]


async def test_what_is_typed_into_a_full_line_is_left_out() -> None:
    async with editing() as typist:
        assert await typist.line(pasted("x" * LONGEST), "yyy") == "x" * LONGEST


@pytest.mark.parametrize(
    ("pieces", "line"),
    [
        (("abc", LEFT, RUBOUT), "ac"),
        (("abc", LEFT, LEFT, RIGHT, "X"), "abXc"),
        (("abc", "\x1b[H", "\x1b[3~"), "bc"),
        (("one two", "\x17"), "one "),
        (("one two", "\x15", "three"), "three"),
        (("one two", "\x1bb", "\x0b", "\x01", "\x19"), "twoone "),
        (("abc", "\x01", "X"), "Xabc"),
        (("a", "\t", "b"), "a b"),
    ],
)
async def test_keys_move_cut_and_bring_back(pieces: tuple[str, ...], line: str) -> None:
    async with editing() as typist:
        assert await typist.line(*pieces) == line


@pytest.mark.parametrize("cluster", ["e\u0301", "👍\ufe0f", "👩\u200d💻", "🇩🇪"])
async def test_a_letter_with_its_marks_is_one_for_all_keys(cluster: str) -> None:
    async with editing() as typist:
        assert await typist.line(f"a{cluster}", RUBOUT) == "a"
        assert await typist.line(f"a{cluster}", LEFT, "b") == f"ab{cluster}"
        assert await typist.line(f"{cluster}a", "\x01", RIGHT, "b") == f"{cluster}ba"
        assert await typist.line(f"{cluster}a", "\x01", "\x1b[3~") == "a"


async def test_lines_before_come_back() -> None:
    async with editing() as typist:
        await typist.line("first")
        await typist.line("second")
        assert await typist.line("draft", UP, UP, DOWN, DOWN, "!") == "draft!"
        assert await typist.line(UP, UP, UP) == "first"
        assert await typist.line("\x12sec\r") == "second"


async def test_end_of_input_leaves_only_on_an_empty_line() -> None:
    async with editing() as typist:
        assert Signal.LEAVE not in await typist.events("a\x04")
        await typist.types("\x04")
        assert await typist.screen.events.get() is Signal.LEAVE


async def test_ctrl_c_leaves_with_a_line_that_was_begun() -> None:
    async with editing() as typist:
        await typist.types("a", "\x03")
        assert [await typist.screen.events.get() for _ in range(2)] == [Signal.EDITED, Signal.LEAVE]


async def test_the_end_of_the_terminal_leaves() -> None:
    async with editing() as typist:
        typist.keys.close()
        assert await typist.screen.events.get() is Signal.LEAVE


async def test_unknown_keys_leave_no_trace() -> None:
    async with editing() as typist:
        assert await typist.line("a", "\x1b[15~", "\x1bOP", "\x1bx", "\x1b[1;5C", "b") == "ab"


async def test_letters_and_pastes_come_in_pieces() -> None:
    async with editing() as typist:
        assert await typist.line(b"\xe6", b"\x97\xa5", "\x1b[200~one\r", "two\x1b[20", "1~", " end") == "日one\ntwo end"


async def test_bytes_that_are_no_text_are_marked() -> None:
    async with editing() as typist:
        assert await typist.line(b"a\xffb") == "a\ufffdb"


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\r\n\t\x1b\x9b"))))
@example("a\r\n\x1b[2J\x9bb\n\r\n")
@example("\n\x1f")
def test_no_control_character_of_a_paste_gets_into_the_line(text: str) -> None:
    line = clean(text)
    assert not line.endswith("\n")
    assert not any(unicodedata.category(each) == "Cc" for each in line if each not in "\n\t")
    assert [each for each in line if unicodedata.category(each) != "Cc"] == [
        each for each in text if unicodedata.category(each) != "Cc"
    ]
