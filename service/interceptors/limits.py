"""How many unary calls a worker serves at once; more are refused at once, with advice when to come again."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import Overloaded

MAX_UNARY_CALLS = 2000


class InFlight:
    """Counts unary calls."""

    def __init__(self, maximum: int = MAX_UNARY_CALLS) -> None:
        self._maximum = maximum
        self.count = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Holds a place for the time of a call.

        Raises:
            Overloaded: all places are taken.
        """
        if self.count >= self._maximum:
            raise Overloaded("calls")
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
