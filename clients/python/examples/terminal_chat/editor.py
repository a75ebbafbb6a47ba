"""A screen with an editor: messages scroll by above the line that the user types. By prompt_toolkit.

Here is how the line and the messages share the terminal; keys.py has the keys that differ from prompt_toolkit's own.
"""

import asyncio
import contextlib
import signal
from collections.abc import Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.output import Output
from prompt_toolkit.output.vt100 import Vt100_Output

from terminal_chat.keys import make_bindings
from terminal_chat.screen import Event, Signal, Submitted

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_MARK_NO_PASTES = "\x1b[?2004l"


class TerminalOutput(Vt100_Output):
    """A terminal that is drawn on while messages come."""

    @property
    def responds_to_cpr(self) -> bool:
        """False: prompt_toolkit would wait for the terminal's answer before it shows anything."""
        return False

    def disable_bracketed_paste(self) -> None:
        """Does nothing.

        The renderer would stop the marks of pastes for a moment around each message. A paste in that moment would be
        sent line by line. EditorScreen stops the marks at the end.
        """


class EditorScreen:
    """A terminal, both ways.

    Args:
        output: the terminal. The input is that of prompt_toolkit's current session: stdin.
    """

    def __init__(self, output: Output) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self._output = output
        self._prompt = "> "
        self._unshown: list[str] = []
        self._session: PromptSession[str] = PromptSession(
            lambda: [("bold", self._prompt)],
            output=output,
            key_bindings=make_bindings(self.events.put_nowait),
            erase_when_done=True,
            reserve_space_for_menu=0,
        )
        line = self._session.default_buffer
        line.accept_handler = self._accept
        line.on_text_changed += self._note_edit
        self._running: asyncio.Task[str] | None = None

    def start(self) -> None:
        """Begins to read keys; a terminal then gives each key at once, and does not echo."""
        running = self._session.prompt_async(handle_sigint=False, set_exception_handler=False)
        self._running = asyncio.create_task(running)
        # It ends by itself only when the terminal is gone.
        self._running.add_done_callback(lambda _: self.events.put_nowait(Signal.LEAVE))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTSTP, self._suspend)

    async def stop(self) -> None:
        """Shows what waits, erases the line, and leaves the terminal as it was found."""
        if self._running is None:
            return
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTSTP)
        self._show()
        if self._session.app.is_running:
            self._session.app.exit(result="")
        else:
            self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        with contextlib.suppress(OSError):
            self._stop_marks()

    def print(self, lines: Iterable[str], *, is_dim: bool = False) -> None:
        """Shows lines above the one that the user types, at the end of this step of the event loop.

        The line is drawn again after what is shown, which costs 0.7 ms: once for all messages of a step.
        """
        if not self._unshown:
            asyncio.get_running_loop().call_soon(self._show)
        self._unshown += (f"{_DIM}{line}{_PLAIN}\n" if is_dim else f"{line}\n" for line in lines)

    def set_prompt(self, prompt: str) -> None:
        """Draws the line again, whole, when the prompt is another one."""
        if prompt != self._prompt:
            self._prompt = prompt
            self._show()

    def _show(self) -> None:
        """Writes what waits in the place of the line, and has the line drawn again below."""
        shown, self._unshown = "".join(self._unshown), []
        try:
            # Not by run_in_terminal or patch_stdout: both let the terminal echo keys meanwhile, and show later.
            self._session.app.renderer.erase()
            self._output.write_raw(shown)
            self._output.flush()
        except OSError:
            self.events.put_nowait(Signal.LEAVE)  # The terminal is gone.
        self._session.app.invalidate()

    def _accept(self, line: Buffer) -> bool:
        # prompt_toolkit keeps bytes that are not Unicode as surrogates, which no message takes.
        text = line.text.encode(errors="surrogateescape").decode(errors="replace")
        self.events.put_nowait(Submitted(text))
        return False  # The line becomes empty.

    def _note_edit(self, _line: Buffer) -> None:
        self.events.put_nowait(Signal.EDITED)

    def _suspend(self) -> None:
        """Stops the program, with the terminal as it was found, until the shell continues it."""

        def stop() -> None:
            self._stop_marks()
            signal.raise_signal(signal.SIGSTOP)

        run_in_terminal(stop)

    def _stop_marks(self) -> None:
        self._output.write_raw(_MARK_NO_PASTES)
        self._output.flush()
