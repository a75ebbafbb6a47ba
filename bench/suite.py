"""The whole set, `make bench`: limits and scenarios in one report, as JSON, page and pictures; or a quick look at all.

Each group of runs has a server of its own. The quick set verifies and asserts no time: it is part of `make check`.
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
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
    yield [(Chat(conversations=count, streams=10, frame=20, rate=4000), _SHORT) for count in (10, 100, 1000, 10_000)]
    yield [(Chat(conversations=4, readers=count, rate=1000, frame=5), _SHORT) for count in (1, 10, 100)]
    yield [(Pull(history=count), _SHORT) for count in (100, 10_000, 1_000_000)]
    yield [
        *((Fanout(streams=count, frame=1, window=64), _SHORT) for count in (100, 1000)),
        (Fanout(streams=1000, frame=16, window=4), _SHORT),
    ]
    for count in (500, 1000, 2000):  # each on a server that was never larger
        yield [(Idle(streams=count), _SETTLED)]
    yield [(Connect(), _LONG)]


def quick() -> Iterator[Runs]:
    """A little of everything; less than a minute."""
    yield [
        (Chat(), _QUICK),
        (Chat(conversations=4, frame=1, rate=200), _QUICK),
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


def main(
    is_quick: Annotated[
        bool, typer.Option("--quick", help="A little of everything, no limits, nothing written.")
    ] = False,
    directory: Annotated[Path, typer.Option(metavar="DIR", help="Where the report goes.")] = Path("docs/performance"),
) -> None:
    """Run the whole set of measurements on servers that are started for it."""
    console, begin = Console(stderr=True), time.monotonic()
    time_text = datetime.now(UTC).isoformat(timespec="seconds")
    command = "make bench-quick" if is_quick else "make bench"
    suite = _Suite(Report(command, time_text, describe_machine()), None if is_quick else directory, console)
    problems = []
    try:
        suite.check_place()
        if not is_quick:
            limits = measure_limits(_LIMIT_SECONDS, tell=lambda words: console.print(words, highlight=False))
            suite.report = replace(suite.report, limits=limits)
        asyncio.run(suite.run(quick() if is_quick else whole()))
    except (BenchError, LimitError) as error:
        problems.append(str(error))
    except Interrupted:
        problems.append("interrupted")
    try:
        suite.draw()
    except BenchError as error:
        problems.append(str(error))
    wide_console().print(to_rich(suite.report))
    console.print(f"took {time.monotonic() - begin:.0f} s", highlight=False)
    failures = [f"{run.scenario}: {run.title}: {run.failure}" for run in suite.report.runs if run.failure]
    for text in [*failures, *problems]:
        typer.echo(f"parley: {text}", err=True)
    sys.exit(1 if failures or problems else 0)


if __name__ == "__main__":
    typer.run(main)
