"""When a run sends, and which part of that is measured. Pure; all times are CLOCK_MONOTONIC nanoseconds.

That clock is the same in all processes of a machine, so generators need nothing else to agree on.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Times:
    """How long a run takes, in seconds; the warm-up is not measured."""

    warmup: float
    measured: float


@dataclass(frozen=True, slots=True)
class Window:
    """The times of a run: sending goes from `begin_ns` to `end_ns`; what is before `start_ns` is the warm-up."""

    begin_ns: int
    start_ns: int
    end_ns: int

    def holds(self, time_ns: int) -> bool:
        """Whether that is in the measured part."""
        return self.start_ns <= time_ns < self.end_ns

    @property
    def seconds(self) -> float:
        """How long the measured part is."""
        return (self.end_ns - self.start_ns) / 1e9
