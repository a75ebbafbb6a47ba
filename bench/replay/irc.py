"""Reads IRC logs: text in, lines with a kind out. Pure; what the lines mean for a group is in plan.py.

What is known of the format:

    [09:14] <nick> text                    a message
    [09:14]  * nick does something         an action (the stamp may be missing)
    [09:14] -nick:#channel- text           a notice
    === nick  has joined #channel          also with a [user@host] after the nickname
    === nick  has left #channel ["reason"]
    === nick was kicked off #channel by somebody (reason)
    === old is now known as new

Every other line, such as a change of the channel's mode or of the day, is counted and left out. Lines end with a
newline and nothing else: texts may hold what other line splitters take for an end.
"""

import enum
import re
from dataclasses import dataclass

_STAMP = r"\[(\d\d):(\d\d)\] "
_MESSAGE = re.compile(_STAMP + r"<([^>]+)>(?: (.*))?", re.DOTALL)
_ACTION = re.compile(rf"(?:{_STAMP})? ?\* (\S+)(?: (.*))?", re.DOTALL)
_NOTICE = re.compile(_STAMP + r"-(\S+):[#&]\S+- ?(.*)", re.DOTALL)
_HOST = r"(?: +\[\S+@\S+\])?"
_JOINED = re.compile(rf"=== (.+?){_HOST} +has joined [#&]\S+")
_LEFT = re.compile(rf"=== (.+?){_HOST} +has left [#&]\S+(?: .*)?", re.DOTALL)
_KICKED = re.compile(r"=== (.+?) was kicked off [#&]\S+ by .*", re.DOTALL)
_RENAMED = re.compile(r"=== (.+?) is now known as (.+)")

_MINUTES_A_DAY = 24 * 60


class Kind(enum.Enum):
    """What a line says; the values are the words that reports use."""

    MESSAGE = "message"
    ACTION = "action"
    NOTICE = "notice"
    JOINED = "joined"
    LEFT = "left"
    KICKED = "kicked"
    RENAMED = "renamed"


SPOKEN = frozenset({Kind.MESSAGE, Kind.ACTION, Kind.NOTICE})


@dataclass(frozen=True, slots=True)
class Line:
    """One line that means something.

    Attributes:
        number: its number in the file, from 1.
        minute: minutes since the midnight before the file's first stamp; never falls. Lines without a stamp have the
            last one's.
        kind: what it says.
        nickname: who, as written.
        text: what was said, never empty; for RENAMED the new nickname; else "".
    """

    number: int
    minute: int
    kind: Kind
    nickname: str
    text: str


@dataclass(frozen=True, slots=True)
class Log:
    """A file.

    Attributes:
        lines: in the order of the file.
        empty_count: messages without a text; they are skipped, as a server refuses them.
        other_count: lines that are none of the known ones, blank ones included.
    """

    lines: tuple[Line, ...]
    empty_count: int
    other_count: int


def decode_log(content: bytes) -> str:
    """Returns the file's text: UTF-8, with what is none, and NUL characters, replaced by U+FFFD."""
    return content.decode("utf-8", errors="replace").replace("\0", "\ufffd")


def parse_log(text: str) -> Log:
    """Returns the lines of a file that mean something, and how many do not."""
    lines: list[Line] = []
    empty_count = other_count = 0
    clock = _Clock()
    for number, raw in enumerate(text.removesuffix("\n").split("\n"), start=1):
        line = _parse_line(raw.removesuffix("\r"), number, clock)
        if line is None:
            other_count += 1
        elif line.kind in SPOKEN and not line.text:
            empty_count += 1
        else:
            lines.append(line)
    return Log(tuple(lines), empty_count, other_count)


class _Clock:
    """Turns stamps of a day's clock into minutes that never fall: a step back by more than half a day is midnight."""

    def __init__(self) -> None:
        self.minute = 0
        self._started = False

    def read(self, hours: str | None, minutes: str | None) -> int:
        if hours is None or minutes is None:
            return self.minute
        of_day = int(hours) * 60 + int(minutes)
        day = self.minute // _MINUTES_A_DAY
        if self._started and self.minute % _MINUTES_A_DAY - of_day > _MINUTES_A_DAY // 2:
            day += 1
        self._started = True
        self.minute = max(self.minute, day * _MINUTES_A_DAY + of_day)
        return self.minute


def _parse_line(raw: str, number: int, clock: _Clock) -> Line | None:
    for pattern, kind in ((_MESSAGE, Kind.MESSAGE), (_ACTION, Kind.ACTION), (_NOTICE, Kind.NOTICE)):
        if match := pattern.fullmatch(raw):
            hours, minutes, nickname, text = match.groups()
            return Line(number, clock.read(hours, minutes), kind, nickname.strip(), text or "")
    for pattern, kind in ((_JOINED, Kind.JOINED), (_LEFT, Kind.LEFT), (_KICKED, Kind.KICKED)):
        if match := pattern.fullmatch(raw):
            return Line(number, clock.minute, kind, match[1].strip(), "")
    if match := _RENAMED.fullmatch(raw):
        return Line(number, clock.minute, Kind.RENAMED, match[1].strip(), match[2].strip())
    return None
