"""What a scenario gives to a generator process, and what comes back: the words between parent and children."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bench.meter import Meter, Reading
from bench.verify import Evidence
from bench.window import Window


class Load(Protocol):
    """A generator's part of a scenario, at work. Calls come in this order, each once; `renew` may come at any time."""

    async def open(self) -> None:
        """Connects, until all is ready for the first message. Raises: AioRpcError, RunBroken."""

    async def run(self, window: Window) -> None:
        """Works until the window ends, or `stop`, and what is outstanding is answered. Raises: RunBroken."""

    def stop(self) -> None:
        """Ends `run` soon; may come at any time, and twice."""

    async def renew(self, tokens: Mapping[str, str]) -> None:
        """Goes on with fresh tokens, by user name; those of others are none of its. Raises: AioRpcError, RunBroken."""

    def last_seqs(self) -> Mapping[str, int]:
        """The last seq that was acknowledged to this generator, by conversation."""

    async def settle(self, last_seqs: Mapping[str, int], limit_seconds: float) -> None:
        """Waits until this generator's readers have all up to there, or the limit passes."""

    async def close(self) -> Evidence | None:
        """Hangs up; gives what is to be judged, None if nothing is."""


class Part(Protocol):
    """A generator's part of a scenario, as it is sent to the process."""

    def start(self, meter: Meter) -> Load:
        """Makes the load; connects nothing."""


@dataclass(frozen=True, slots=True)
class Ready:
    """All is connected. From the child."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Go:
    """Begin. To the child."""

    window: Window


@dataclass(frozen=True, slots=True)
class Stop:
    """End early. To the child."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Fresh tokens, by user name. To the child."""

    tokens: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Live:
    """What was done so far. From the child, several times a second."""

    totals: Mapping[str, int]
    error_count: int


@dataclass(frozen=True, slots=True)
class Sent:
    """All is answered, and what is to be expected of readers. From the child."""

    last_seqs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Settle:
    """What all children together were acknowledged. To the child."""

    last_seqs: Mapping[str, int]
    limit_seconds: float


@dataclass(frozen=True, slots=True)
class Done:
    """The end. From the child.

    Attributes:
        finished_ns: when `run` was done.
        failure: why it ended early; empty if it did not.
        had_begun: whether it came to `run`; if not there is nothing to keep.
    """

    reading: Reading
    evidence: Evidence | None
    finished_ns: int
    failure: str = ""
    had_begun: bool = True
    figures: Mapping[str, float] = field(default_factory=dict)
