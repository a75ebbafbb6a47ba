"""The keys that do something else than in prompt_toolkit, which has Emacs' keys as readline has them."""

import os
import signal
import unicodedata
from collections.abc import Callable

from prompt_toolkit.application import get_app
from prompt_toolkit.filters import Condition, is_searching
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from wcwidth import iter_graphemes, iter_graphemes_reverse

from terminal_chat.screen import Event, Signal

LONGEST = 16_000
"""Characters of a line; a message takes 16,384 bytes at most."""


def make_bindings(emit: Callable[[Event], None]) -> KeyBindings:
    """Returns the keys; `emit` takes the events that they make."""
    keys = KeyBindings()
    _add_cluster_keys(keys)

    @Condition
    def is_empty() -> bool:
        return not get_app().current_buffer.text

    @Condition
    def is_full() -> bool:
        return len(get_app().current_buffer.text) >= LONGEST

    @keys.add("c-c", filter=~is_searching)
    @keys.add("c-d", filter=is_empty & ~is_searching)
    def _leave(_event: KeyPressEvent) -> None:
        emit(Signal.LEAVE)

    @keys.add("c-z")
    def _suspend(_event: KeyPressEvent) -> None:
        os.kill(0, signal.SIGTSTP)  # To all programs of the job, as the terminal does where no program takes the key.

    @keys.add("tab")
    def _insert_blank(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text(" ")

    @keys.add("escape", Keys.Any)  # prompt_toolkit takes an unknown key with Alt for the key alone.
    @keys.add(Keys.Any, filter=is_full)
    def _ignore(_event: KeyPressEvent) -> None:
        """Leaves the line as it is."""

    @keys.add(Keys.BracketedPaste)
    def _paste(event: KeyPressEvent) -> None:
        pasted = clean(event.data)
        if len(event.current_buffer.text) + len(pasted) > LONGEST:
            emit(Signal.TOO_LONG)
        else:
            event.current_buffer.insert_text(pasted)

    return keys


def clean(pasted: str) -> str:
    r"""Returns a paste without control characters. Line ends become "\n"; the last ones are left out."""
    unified = pasted.replace("\r\n", "\n").replace("\r", "\n")
    kept = [each for each in unified if each in "\n\t" or unicodedata.category(each) != "Cc"]
    return "".join(kept).rstrip("\n")


def _add_cluster_keys(keys: KeyBindings) -> None:
    """Has keys take a letter with its marks, or an emoji, as one; prompt_toolkit takes each code point alone."""

    @keys.add("left")
    @keys.add("c-b")
    def _left(event: KeyPressEvent) -> None:
        event.current_buffer.cursor_position -= _length_before(event)

    @keys.add("right")
    @keys.add("c-f")
    def _right(event: KeyPressEvent) -> None:
        event.current_buffer.cursor_position += _length_after(event)

    @keys.add("backspace")
    def _rubout(event: KeyPressEvent) -> None:
        event.current_buffer.delete_before_cursor(_length_before(event))

    @keys.add("delete")
    def _delete(event: KeyPressEvent) -> None:
        event.current_buffer.delete(_length_after(event))


def _length_before(event: KeyPressEvent) -> int:
    return len(next(iter_graphemes_reverse(event.current_buffer.document.text_before_cursor), ""))


def _length_after(event: KeyPressEvent) -> int:
    return len(next(iter_graphemes(event.current_buffer.document.text_after_cursor), ""))
