"""One line that is being typed: keys in, events out. Pure; terminal.py reads the keys and draws the line."""

import enum
import re
import unicodedata
from dataclasses import dataclass

_KEEP_LINES = 200
_LONGEST = 16_000  # characters; a message takes 16,384 bytes at most

# One key: an escape sequence (CSI, SS3, or Alt and a character), or a character.
_KEY = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|[^\[O])|[^\x1b]", re.DOTALL)
_NAMED = {
    "\x1b[D": "left", "\x1bOD": "left", "\x02": "left",
    "\x1b[C": "right", "\x1bOC": "right", "\x06": "right",
    "\x1b[H": "home", "\x1bOH": "home", "\x1b[1~": "home", "\x01": "home",
    "\x1b[F": "end", "\x1bOF": "end", "\x1b[4~": "end", "\x05": "end",
    "\x1b[A": "older", "\x1bOA": "older", "\x10": "older",
    "\x1b[B": "newer", "\x1bOB": "newer", "\x0e": "newer",
    "\x7f": "rubout", "\x08": "rubout", "\x1b[3~": "delete",
    "\x15": "clear", "\x0b": "cut", "\x17": "rubout word",
}  # fmt: skip

# What a terminal puts around a paste when it is asked to ("bracketed paste").
_PASTE_BEGINS, _PASTE_ENDS = "\x1b[200~", "\x1b[201~"


class Signal(enum.Enum):
    """What is not a line."""

    EDITED = "edited"
    LEAVE = "leave"
    TOO_LONG = "too long"
    REDRAW = "redraw"


@dataclass(frozen=True, slots=True)
class Submitted:
    """Enter was pressed; what was pasted may have put several lines into the line."""

    line: str


Event = Submitted | Signal


class LineEditor:
    """The line, its cursor, and the lines before it.

    Attributes:
        text: what was typed.
        cursor: a place in it, from 0 to its length.
    """

    def __init__(self) -> None:
        self.text = ""
        self.cursor = 0
        self._unread = ""
        self._pasted: list[str] | None = None  # keys of a paste that has not ended
        self._past: list[str] = []
        self._at = 0
        self._draft = ""

    def feed(self, typed: str) -> list[Event]:
        """Takes what was typed, in pieces of any size, and returns what came of it."""
        self._unread += typed
        events: list[Event] = []
        while match := _KEY.match(self._unread):
            self._unread = self._unread[match.end() :]
            if (event := self._press(match[0])) is not None:
                events.append(event)
        if len(self._unread) > 32:
            self._unread = ""  # No escape sequence is so long.
        return events

    def _press(self, key: str) -> Event | None:
        if key == _PASTE_BEGINS:
            self._pasted = []
            return None
        if self._pasted is not None:
            return self._take_pasted(key)
        if key in ("\r", "\n"):
            return self._submit()
        if key == "\x04":
            return Signal.LEAVE if not self.text else None
        if key == "\x03":
            return Signal.LEAVE
        if key == "\x0c":
            return Signal.REDRAW
        if key in _NAMED:
            before = self.text
            self._edit(_NAMED[key])
            return Signal.EDITED if self.text != before else Signal.REDRAW
        key = " " if key == "\t" else key
        if len(key) > 1 or unicodedata.category(key) == "Cc" or len(self.text) >= _LONGEST:
            return None
        self.text = self.text[: self.cursor] + key + self.text[self.cursor :]
        self.cursor += 1
        return Signal.EDITED

    def _take_pasted(self, key: str) -> Event | None:
        """Takes a key of a paste: nothing in it is a command, and its line ends are part of the message."""
        assert self._pasted is not None
        if key != _PASTE_ENDS:
            if key in "\r\n\t" or (len(key) == 1 and unicodedata.category(key) != "Cc"):
                self._pasted.append(key)
            return None
        pasted = "".join(self._pasted).replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
        self._pasted = None
        if len(self.text) + len(pasted) > _LONGEST:
            return Signal.TOO_LONG
        self.text = self.text[: self.cursor] + pasted + self.text[self.cursor :]
        self.cursor += len(pasted)
        return Signal.EDITED

    def _submit(self) -> Submitted:
        line, self.text, self.cursor = self.text, "", 0
        if line.strip() and (not self._past or self._past[-1] != line):
            self._past = [*self._past, line][-_KEEP_LINES:]
        self._at, self._draft = len(self._past), ""
        return Submitted(line)

    def _edit(self, action: str) -> None:
        match action:
            case "left":
                self.cursor = self._left()
            case "right":
                self.cursor = self._right()
            case "home":
                self.cursor = 0
            case "end":
                self.cursor = len(self.text)
            case "older" if self._at > 0:
                self._recall(self._at - 1)
            case "newer" if self._at < len(self._past):
                self._recall(self._at + 1)
            case "rubout":
                self._cut(self._left(), self.cursor)
            case "delete":
                self._cut(self.cursor, self._right())
            case "clear":
                self._cut(0, self.cursor)
            case "cut":
                self._cut(self.cursor, len(self.text))
            case "rubout word":
                self._cut(len(self.text[: self.cursor].rstrip().rpartition(" ")[0]), self.cursor)

    def _cut(self, first: int, last: int) -> None:
        self.text, self.cursor = self.text[:first] + self.text[last:], first

    def _left(self) -> int:
        at = max(0, self.cursor - 1)
        while at > 0 and _belongs_to_the_one_before(self.text[at]):
            at -= 1
        return at

    def _right(self) -> int:
        at = min(len(self.text), self.cursor + 1)
        while at < len(self.text) and _belongs_to_the_one_before(self.text[at]):
            at += 1
        return at

    def _recall(self, at: int) -> None:
        if self._at == len(self._past):
            self._draft = self.text
        self._at = at
        self.text = self._past[at] if at < len(self._past) else self._draft
        self.cursor = len(self.text)


def _belongs_to_the_one_before(character: str) -> bool:
    return unicodedata.category(character) in ("Mn", "Me", "Mc") or character in "\u200d\ufe0e\ufe0f"
