"""The texts that are sent: each says its run, sender, number and time, so that a reader needs no memory to check it.

"r1a2b3c4d s000017 n00000000420000123456789012 <padding>": a number of 10 digits, a time of 16, and padding that depends
on both, so that a change of any byte shows. The time is when the message was to be sent, in microseconds of
CLOCK_MONOTONIC. Both ways are on the path of each message: they cost less than a microsecond.
"""

from collections.abc import Iterable

_HEAD_CHARS = len("r1a2b3c4d s000017 n")
_SENDER = slice(11, 17)
_NUMBER = slice(19, 29)
_TIME = slice(29, 45)
_PADDING = slice(45, None)
SHORTEST_BYTES = 64
REQUEST_ID = slice(0, 29)
"""The part of a text that names its message, and is its request id: run, sender and number."""
# A prime, so that one wrong digit anywhere in number or time gives another padding.
_PADDINGS = 61
_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class Texts:
    """Makes and reads the texts of a run.

    Attributes:
        size_bytes: of each.
        paddings: what texts end with; the one at (number + time) modulo their count.
    """

    def __init__(self, run: str, size_bytes: int) -> None:
        """Makes ready for texts of a run, 8 hexadecimal digits, of `SHORTEST_BYTES` or more each."""
        self._run = run
        self.size_bytes = size_bytes
        length = size_bytes - _PADDING.start - 1
        endless = _ALPHABET * (length // len(_ALPHABET) + 2)
        self.paddings = tuple(f" {endless[at : at + length]}" for at in range(_PADDINGS))
        self._senders: dict[str, int] = {}
        self._time_digits, self._time_us = "", 0

    def head(self, sender: int) -> str:
        """How all texts of a sender begin."""
        return f"r{self._run} s{sender:06d} n"

    def make(self, head: str, numbers: Iterable[int], time_us: int) -> list[str]:
        """The texts of messages that are sent at one time."""
        paddings, time_text = self.paddings, f"{time_us:016d}"
        return [f"{head}{number:010d}{time_text}{paddings[(number + time_us) % _PADDINGS]}" for number in numbers]

    def read(self, text: str) -> tuple[int, int, int] | None:
        """The sender, number and time that a text says; None if it is not one of this run, or was changed."""
        sender = self._senders.get(text[:_HEAD_CHARS])
        if sender is None:
            sender = self._learn(text[:_HEAD_CHARS])
        number_digits, time_digits = text[_NUMBER], text[_TIME]
        if time_digits != self._time_digits:  # the messages of a frame have one time
            if not time_digits.isdecimal():
                return None
            self._time_digits, self._time_us = time_digits, int(time_digits)
        # Without the question `int` would take signs, blanks and underscores, too.
        if sender is None or not number_digits.isdecimal():
            return None
        number, time_us = int(number_digits), self._time_us
        if text[_PADDING] != self.paddings[(number + time_us) % _PADDINGS]:
            return None
        return sender, number, time_us

    def _learn(self, head: str) -> int | None:
        digits = head[_SENDER]
        if not digits.isdecimal() or head != self.head(int(digits)):
            return None
        return self._senders.setdefault(head, int(digits))
