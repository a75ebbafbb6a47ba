"""The whole set, `make bench`: limits and scenarios in one report, as JSON, page and pictures; or another set.

Each group of runs has a server of its own. The quick set is a little of everything, which verifies and asserts no time:
it is part of `make check`. The large one is what would take the whole beyond a quarter of an hour.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.console import Console

from bench.errors import BenchError
from bench.files import allow
from bench.limit.measure import LimitError, measure_limits
from bench.machine import describe_machine
from bench.output import check_place, in_words, write_whole
from bench.progress import wide_console
from bench.report.page import write_page, write_pictures
from bench.report.table import to_page, to_rich
from bench.results import Report
from bench.running import Scenario
from bench.scenarios.chat import Chat
from bench.scenarios.connect import Connect
from bench.scenarios.fanout import Fanout
from bench.scenarios.idle import Idle
from bench.scenarios.mixed import Mixed
from bench.scenarios.pull import Pull
from bench.scenarios.send import Send
from bench.session import Interrupted, Place, run_all
from bench.window import Times

Runs: TypeAlias = Sequence[tuple[Scenario, Times]]

_LONG = Times(warmup=3.0, measured=10.0)
_SHORT = Times(warmup=2.0, measured=5.0)
# What was just connected still has something to do for some seconds.
_SETTLED = Times(warmup=10.0, measured=10.0)
_QUICK = Times(warmup=0.5, measured=1.5)
_LIMIT_SECONDS = 3.0
_NAME = "report"


def whole() -> Iterator[Runs]:
    """All that the page about performance shows, in groups; less than 15 minutes."""
    yield [
        (Chat(), _LONG),
        *((Chat(frame=frame), _SHORT) for frame in (1, 5, 100)),
        (Chat(conversations=16, frame=1, window=32), _LONG),
        (Send(), _LONG),
        *((Chat(conversations=16, frame=1, rate=rate), _LONG) for rate in (500, 1000, 2000, 5000)),
        (Mixed(), _LONG),
    ]
    # How the cost of a message grows: what is offered is the same, and less than what can be done.
    yield [
        *((Chat(conversations=count, streams=10, rate=4000), _SHORT) for count in (10, 100, 1000, 10_000)),
        *((Chat(conversations=1000, streams=count, rate=4000), _SHORT) for count in (100, 1000)),
    ]
    yield [(_stored(count), _SHORT) for count in (1000, 100_000, 1_000_000)]
    yield [(Chat(conversations=4, readers=count, rate=1000, frame=5), _SHORT) for count in (1, 10, 100)]
    yield [(Pull(history=count), _SHORT) for count in (100, 10_000, 1_000_000)]
    yield [
        *((Fanout(streams=count, frame=1, window=64), _SHORT) for count in (100, 1000)),
        (Fanout(streams=1000, frame=16, window=4), _SHORT),
    ]
    for count in (500, 1000, 2000):  # each on a server that was never larger
        yield [(Idle(streams=count), _SETTLED)]
    yield [(Connect(), _LONG)]


def large() -> Iterator[Runs]:
    """What takes long to make ready: ten million messages, which need some 6 GB of disk."""
    yield [(_stored(count), _LONG) for count in (1000, 100_000, 1_000_000, 10_000_000)]
    yield [(Pull(history=10_000_000), _LONG)]


def _stored(count: int) -> Chat:
    """The same as with ten conversations whose logs were empty."""
    return Chat(conversations=10, streams=10, rate=4000, stored=count)


def quick() -> Iterator[Runs]:
    """A little of everything; less than a minute."""
    yield [
        (Chat(), _QUICK),
        (Chat(conversations=4, frame=1, rate=200, stored=1000), _QUICK),
        (Send(outstanding=16, conversations=4), _QUICK),
        (Fanout(streams=50), _QUICK),
        (Pull(history=1000), _QUICK),
        (Mixed(streams=30, conversations=3, rate=100), _QUICK),
        (Connect(streams=50, conversations=5), _QUICK),
        (Idle(streams=50, conversations=5), _QUICK),
    ]


@dataclass(slots=True)
class _Suite:
    """What is run, and what came of it so far.

    Attributes:
        directory: where the report goes after each run; None: nowhere.
    """

    report: Report
    directory: Path | None
    console: Console

    async def run(self, groups: Iterator[Runs]) -> None:
        """Runs all groups. Raises: BenchError, Interrupted."""
        for runs in groups:
            before = self.report.runs

            def keep(part: Report, before: tuple[object, ...] = before) -> None:
                self.report = replace(self.report, runs=(*self.report.runs[: len(before)], *part.runs))
                self.write()

            allow(max(scenario.connection_count for scenario, _ in runs), can_share=False)
            await run_all(Place(None, None, workers=1, generators=1), runs, self.console, keep)

    def check_place(self) -> None:
        """Says no to a directory in which nothing can be written. Raises: BenchError."""
        if self.directory is not None:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BenchError(in_words(error)) from error
            check_place(self.directory / f"{_NAME}.json")

    def write(self) -> None:
        """Writes what there is. Raises: BenchError."""
        if self.directory is not None:
            try:
                self.report.write(self.directory / f"{_NAME}.json")
            except OSError as error:
                raise BenchError(in_words(error)) from error

    def draw(self) -> None:
        """Writes page, table and pictures of what there is. Raises: BenchError."""
        if self.directory is not None and self.report.runs:
            try:
                write_page(self.report, self.directory / f"{_NAME}.html")
                write_whole(self.directory / f"{_NAME}.md", to_page(self.report).encode())
                write_pictures(self.report, self.directory)
            except OSError as error:
                raise BenchError(in_words(error)) from error


@dataclass(frozen=True, slots=True)
class _Set:
    """What can be run.

    Attributes:
        command: that runs it.
        directory: where its report goes; None: nowhere.
        has_limits: whether what the machine can do is measured, too.
    """

    command: str
    groups: Callable[[], Iterator[Runs]]
    directory: Path | None
    has_limits: bool


_SETS = {
    "whole": _Set("make bench", whole, Path("docs/performance"), has_limits=True),
    "large": _Set("make bench-large", large, Path("docs/performance/large"), has_limits=False),
    "quick": _Set("make bench-quick", quick, None, has_limits=False),
}


def main(
    name: Annotated[str, typer.Argument(metavar="whole|large|quick", help="Which set.")] = "whole",
    directory: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the report goes, if not where it is kept.")
    ] = None,
) -> None:
    """Run a set of measurements on servers that are started for it."""
    if name not in _SETS:
        raise typer.BadParameter(f"{name} is none of {', '.join(_SETS)}")
    chosen = _SETS[name]
    console, begin = Console(stderr=True), time.monotonic()
    time_text = datetime.now(UTC).isoformat(timespec="seconds")
    suite = _Suite(Report(chosen.command, time_text, describe_machine()), directory or chosen.directory, console)
    problems = _measure(suite, chosen, console)
    wide_console().print(to_rich(suite.report))
    console.print(f"took {time.monotonic() - begin:.0f} s", highlight=False)
    failures = [f"{run.scenario}: {run.title}: {run.failure}" for run in suite.report.runs if run.failure]
    for text in [*failures, *problems]:
        typer.echo(f"parley: {text}", err=True)
    sys.exit(1 if failures or problems else 0)


def _measure(suite: _Suite, chosen: _Set, console: Console) -> list[str]:
    """Runs the set; whatever ends it, what there is by then is drawn. Gives what went wrong."""
    problems = []
    try:
        suite.check_place()
        if chosen.has_limits:
            limits = measure_limits(_LIMIT_SECONDS, tell=lambda words: console.print(words, highlight=False))
            suite.report = replace(suite.report, limits=limits)
        asyncio.run(suite.run(chosen.groups()))
    except (BenchError, LimitError) as error:
        problems.append(str(error))
    except Interrupted:
        problems.append("interrupted")
    try:
        suite.draw()
    except BenchError as error:
        problems.append(str(error))
    return problems


if __name__ == "__main__":
    typer.run(main)
