"""The table of a run: languages beside scenarios, then a line for each runner."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

PASSED, FAILED, SKIPPED, LEFT_OUT = "ok", "FAILED", "-", ""


@dataclass(slots=True)
class Result:
    """What a runner did.

    Attributes:
        language: its name.
        outcomes: scenario -> PASSED, FAILED, SKIPPED, or LEFT_OUT for what is not for it.
        reasons: scenario -> why not PASSED; "" -> why nothing was played, or nothing counts.
        runtime: its version and what it runs on; empty when it did not start.
    """

    language: str
    outcomes: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    runtime: str = ""

    def count(self, outcome: str) -> int:
        """How many scenarios came out so."""
        return sum(found == outcome for found in self.outcomes.values())

    @property
    def line(self) -> str:
        """`go: 41 passed, 0 failed, 0 skipped`."""
        return (
            f"{self.language}: {self.count(PASSED)} passed, {self.count(FAILED)} failed, {self.count(SKIPPED)} skipped"
        )


def table(results: Sequence[Result], names: Sequence[str]) -> Iterator[str]:
    """Returns the lines of the table, then the reasons, then what each runner runs on, then a line for each."""
    width = max(len(name) for name in names)
    yield " ".join([" " * width, *(result.language for result in results)])
    for name in names:
        cells = (result.outcomes.get(name, SKIPPED).center(len(result.language)) for result in results)
        yield " ".join([name.ljust(width), *cells]).rstrip()
    yield ""
    for result in results:
        whole = "is left out" if result.count(SKIPPED) else "failed as a whole"
        for name, reason in result.reasons.items():
            yield f"{result.language}, {name}: {reason}" if name else f"{result.language} {whole}: {reason}"
    yield from (f"{result.language} is {result.runtime}" for result in results if result.runtime)
    for result in results:
        yield result.line
