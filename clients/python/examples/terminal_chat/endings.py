"""What to do when a stream has ended, and how long to wait before. Pure; the table of docs/clients.md, "The end"."""

import enum
import random
from collections.abc import Callable

import grpc

from terminal_chat.errors import Refusal

FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.5, 15.0

_C = grpc.StatusCode
_PASSING = (
    _C.OK,
    _C.UNAVAILABLE,
    _C.FAILED_PRECONDITION,  # the hello was late
    # The transport's own ends: a proxy, a connection that was cut in the middle, a fault of the server.
    _C.CANCELLED,
    _C.UNKNOWN,
    _C.INTERNAL,
    _C.ABORTED,
    _C.DEADLINE_EXCEEDED,
    _C.DATA_LOSS,
)


class Step(enum.Enum):
    """What comes after a stream."""

    COME_BACK = enum.auto()
    REFRESH = enum.auto()
    GIVE_UP = enum.auto()


def judge(end: Refusal) -> Step:
    """Says what comes after a stream that ended so."""
    if end.code is _C.UNAUTHENTICATED:
        return Step.REFRESH
    if end.retry_seconds is not None or end.code in _PASSING:
        return Step.COME_BACK
    return Step.GIVE_UP  # the next stream would meet the same


class Pauses:
    """Growing pauses with full jitter, so that those who were thrown out together do not come back together."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        """Begins with the shortest.

        Args:
            draw: gives numbers from 0 to 1.
        """
        self._draw = draw
        self._limit_seconds = FIRST_PAUSE_SECONDS

    def next(self, at_least_seconds: float | None) -> float:
        """Returns how long to wait now.

        Args:
            at_least_seconds: what RetryInfo asks for; None: nothing.
        """
        wait_seconds = (at_least_seconds or 0.0) + self._draw() * self._limit_seconds
        self._limit_seconds = min(2 * self._limit_seconds, LAST_PAUSE_SECONDS)
        return wait_seconds

    def reset(self) -> None:
        """Begins again: it worked."""
        self._limit_seconds = FIRST_PAUSE_SECONDS


def wait_seconds_after(end: Refusal, pauses: Pauses, *, come_back_seconds: float | None, was_welcomed: bool) -> float:
    """Says how long to wait before the next stream.

    Args:
        come_back_seconds: from now until the server wants us back, if it asked us to go; else None.
        was_welcomed: whether the stream that ended was open.
    """
    if come_back_seconds is not None:
        return max(0.0, come_back_seconds)
    if judge(end) is Step.REFRESH and was_welcomed:
        return 0.0
    return pauses.next(end.retry_seconds)
