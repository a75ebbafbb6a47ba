"""A command's runs: on a site, with what they found written after each, so that an end in between loses nothing."""

import asyncio
import contextlib
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench.connections import Address
from bench.machine import describe_machine
from bench.progress import make_watcher
from bench.results import Report
from bench.running import Runner, Scenario
from bench.site import Site, own_site, site_at
from bench.window import Times

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the runs are done.

    Attributes:
        address: of a server that is there; None: one is started.
        token_file: of its users; None: they are registered.
        workers: of a server that is started.
        generators: processes that make the load.
    """

    address: Address | None
    token_file: Path | None
    workers: int
    generators: int

    @contextlib.asynccontextmanager
    async def open(self, tell: Callable[[str], None], warn: Callable[[str], None]) -> AsyncIterator[Site]:
        """The site.

        Args:
            tell: called with what takes long there.
            warn: called with what could not be taken away at the end.

        Raises:
            BenchError: there is none.
        """
        if self.address is None:
            async with own_site(self.workers, tell) as site:
                yield site
        else:
            async with site_at(self.address, self.token_file, tell, warn) as site:
                yield site


class Interrupted(Exception):
    """Ctrl-C came before there was anything to measure."""


async def run_all(
    place: Place,
    scenarios: Sequence[tuple[Scenario, Times]],
    console: Console,
    on_report: Callable[[Report], None],
) -> Report:
    """Runs scenarios on one site.

    A first Ctrl-C, SIGTERM or SIGHUP ends the present run, with what it measured; a second one all.

    Args:
        on_report: called after each run, with all so far.

    Raises:
        BenchError: a run could not begin.
        Interrupted: see above.
    """
    command = shlex.join(["parley", "bench", *sys.argv[sys.argv.index("bench") + 1 :]] if "bench" in sys.argv else [])
    report = Report(command, datetime.now(UTC).isoformat(timespec="seconds"), describe_machine())
    watcher = make_watcher(console)
    try:
        with _interruptible() as interruption:
            watcher.phase("starting a server" if place.address is None else "asking the server")
            async with place.open(watcher.phase, lambda text: console.print(text, highlight=False)) as site:
                runner = Runner(site, place.generators, watcher)
                interruption.then(runner.interrupt)
                for scenario, times in scenarios:
                    run = await runner.run(scenario, times)
                    report = replace(report, runs=(*report.runs, run))
                    on_report(report)
                    if interruption.count:
                        break
    except asyncio.CancelledError:
        raise Interrupted from None
    finally:
        watcher.close()
    return report


class _Interruption:
    """Counts signals: the first is told, the second cancels."""

    def __init__(self) -> None:
        self.count = 0
        self._task = asyncio.current_task()
        self._then: Callable[[], bool] = bool

    def then(self, callback: Callable[[], bool]) -> None:
        """Says whom to tell of the first; if that is of no avail, it cancels, too."""
        self._then = callback

    def note(self) -> None:
        """A signal came."""
        self.count += 1
        is_taken = self.count == 1 and self._then()
        if not is_taken and self._task is not None:
            self._task.cancel()


@contextlib.contextmanager
def _interruptible() -> Iterator[_Interruption]:
    loop, interruption = asyncio.get_running_loop(), _Interruption()
    for number in _SIGNALS:
        loop.add_signal_handler(number, interruption.note)
    try:
        yield interruption
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
