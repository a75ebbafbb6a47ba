"""The terminal: what happened scrolls by, and the last row is the line that is being typed.

On a terminal, keys come one by one and the last row is drawn anew around each line that is printed. Anywhere else
(pipes, files) lines are read and printed as they are.
"""

import asyncio
import codecs
import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterable
from typing import Protocol

from rich.cells import cell_len

from terminal_chat.line_editor import Event, LineEditor, Signal, Submitted
from terminal_chat.text import clip_left, clip_right

_CLEAR_DOWN = "\r\x1b[J"
# Terminals then mark what is pasted, so that its line ends are not taken for Enter.
_MARK_PASTES, _MARK_NO_PASTES = "\x1b[?2004h", "\x1b[?2004l"
# Line ends and tabs of a paste, as they stand in the line that is being typed.
_SHOWN = str.maketrans("\n\t", "\u21b5 ")
_DIM, _BOLD, _PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"


class Screen(Protocol):
    """Where lines go to and events come from."""

    events: asyncio.Queue[Event]

    def start(self) -> None:
        """Begins to read."""

    def stop(self) -> None:
        """Leaves everything as it was found."""

    def print(self, lines: Iterable[str], *, is_dim: bool = False) -> None:
        """Shows lines that are safe."""

    def set_prompt(self, prompt: str) -> None:
        """Says what stands before the line that is being typed; safe."""


class TerminalScreen:
    """A terminal, both ways. Between `start` and `stop` it gives each key at once and does not echo."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self._fd = sys.stdin.fileno()
        self._found = termios.tcgetattr(self._fd)
        self._editor = LineEditor()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._prompt = "> "
        self._is_started = False

    def start(self) -> None:
        """Begins to read keys."""
        loop = asyncio.get_running_loop()
        self._is_started = True
        self._take_keys()
        loop.add_reader(self._fd, self._read)
        loop.add_signal_handler(signal.SIGWINCH, self._draw)
        loop.add_signal_handler(signal.SIGCONT, self._resume)
        loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        self._draw()

    def stop(self) -> None:
        """Clears the line that is being typed and leaves the terminal as it was found."""
        if not self._is_started:
            return
        self._is_started = False
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._fd)
        for number in (signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP):
            loop.remove_signal_handler(number)
        self._restore()

    def print(self, lines: Iterable[str], *, is_dim: bool = False) -> None:
        """Shows lines above the one that is being typed."""
        shown = "".join(f"{_DIM}{line}{_PLAIN}\n" if is_dim else f"{line}\n" for line in lines)
        self._write(_CLEAR_DOWN + shown)
        self._draw()

    def set_prompt(self, prompt: str) -> None:
        """Draws the line anew when the prompt is another one."""
        if prompt != self._prompt:
            self._prompt = prompt
            self._draw()

    def _read(self) -> None:
        try:
            typed = os.read(self._fd, 4096)
        except OSError:
            typed = b""  # The terminal is gone.
        if not typed:
            asyncio.get_running_loop().remove_reader(self._fd)
            self.events.put_nowait(Signal.LEAVE)
            return
        events = self._editor.feed(self._decoder.decode(typed))
        for event in events:
            self.events.put_nowait(event)
        self._draw()

    def _draw(self) -> None:
        """Draws the last row: the prompt, and the part of the line around the cursor that fits."""
        if not self._is_started:
            return
        columns = max(10, _columns())
        prompt = clip_right(self._prompt, columns // 2)
        room = columns - cell_len(prompt) - 1
        text = self._editor.text.translate(_SHOWN)
        left = clip_left(text[: self._editor.cursor], room)
        right = clip_right(text[self._editor.cursor :], room - cell_len(left))
        back = cell_len(right)
        self._write(f"{_CLEAR_DOWN}{_BOLD}{prompt}{_PLAIN}{left}{right}" + (f"\x1b[{back}D" if back else ""))

    def _suspend(self) -> None:
        self._restore()
        os.kill(os.getpid(), signal.SIGSTOP)

    def _resume(self) -> None:
        self._take_keys()
        self._draw()

    def _take_keys(self) -> None:
        tty.setcbreak(self._fd, termios.TCSADRAIN)  # what was typed ahead stays
        self._write(_MARK_PASTES)

    def _restore(self) -> None:
        self._write(_MARK_NO_PASTES + _CLEAR_DOWN)
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._found)

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError:
            self.events.put_nowait(Signal.LEAVE)  # The terminal is gone.


class PipeScreen:
    """Lines in, lines out."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()

    def start(self) -> None:
        """Begins to read lines."""
        loop = asyncio.get_running_loop()

        def read() -> None:
            # A thread, since a file can't be waited for; a daemon, since nothing interrupts a read.
            for line in sys.stdin:
                loop.call_soon_threadsafe(self.events.put_nowait, Submitted(line.rstrip("\n")))
            loop.call_soon_threadsafe(self.events.put_nowait, Signal.LEAVE)

        threading.Thread(target=read, name="stdin", daemon=True).start()

    def stop(self) -> None:
        """There is nothing to restore."""

    def print(self, lines: Iterable[str], *, is_dim: bool = False) -> None:
        """Prints lines."""
        try:
            for line in lines:
                print(line, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads any more
            self.events.put_nowait(Signal.LEAVE)

    def set_prompt(self, prompt: str) -> None:
        """There is none."""


def open_screen() -> Screen:
    """Returns the terminal where there is one on both ends, else plain lines."""
    return TerminalScreen() if sys.stdin.isatty() and sys.stdout.isatty() else PipeScreen()


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 80
