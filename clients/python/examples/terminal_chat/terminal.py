"""The choice of the screen."""

import os
import sys

from terminal_chat.plain import PlainScreen
from terminal_chat.screen import Screen

_NO_EDITOR = '* there is no editor; for one: pip install "./clients/python[terminal]"'


def open_screen() -> Screen:
    """Returns a screen with an editor where a terminal is on both ends that can draw, else plain lines.

    Without prompt_toolkit there is no editor, which one line says.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") in ("dumb", "unknown"):
        return PlainScreen()
    try:
        from terminal_chat.editor import EditorScreen, TerminalOutput
    except ModuleNotFoundError:
        screen = PlainScreen()
        screen.print([_NO_EDITOR])
        return screen
    return EditorScreen(TerminalOutput.from_pty(sys.stdout, term=os.environ.get("TERM")))
