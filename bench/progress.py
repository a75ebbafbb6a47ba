"""How a run goes, while it goes: a bar with live rates on a terminal, a line every few seconds elsewhere."""

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

_LINE_SECONDS = 2.0
_FILE_WIDTH = 160
# What has a rate that is worth showing, in order.
_SHOWN = ("acked", "delivered", "pulled", "opened", "streams", "pages", "read", "typed")


class _Rates:
    """Rates between two looks at totals, which begin at 0 again with each run."""

    def __init__(self) -> None:
        self._before: Mapping[str, int] = {}
        self._time = time.monotonic()

    def in_words(self, totals: Mapping[str, int], error_count: int) -> str:
        """What happened a second since the last time; empty at the first look at a run."""
        now, before = time.monotonic(), self._before
        seconds = max(now - self._time, 1e-6)
        self._before, self._time = dict(totals), now
        if not before or any(totals.get(name, 0) < count for name, count in before.items()):
            return ""
        words = [f"{(totals[name] - before.get(name, 0)) / seconds:,.0f} {name}/s" for name in _SHOWN if name in totals]
        if error_count:
            words.append(f"{error_count:,} refused")
        return ", ".join(words)


class Bar:
    """On a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[rates]}"),
            console=console,
            transient=True,
        )
        self._task: TaskID = self._progress.add_task("", total=None, rates="")
        self._rates = _Rates()
        self._seconds: float | None = None
        self._begin = 0.0
        self._progress.start()

    def phase(self, text: str, seconds: float | None = None) -> None:
        """Shows what is done now."""
        self._seconds, self._begin = seconds, time.monotonic()
        self._progress.reset(self._task, description=text, total=seconds, rates="")

    def live(self, totals: Mapping[str, int], error_count: int) -> None:
        """Shows rates."""
        done = time.monotonic() - self._begin if self._seconds else 0.0
        self._progress.update(self._task, completed=done, rates=self._rates.in_words(totals, error_count))

    def close(self) -> None:
        """Takes the bar away."""
        self._progress.stop()


class Lines:
    """Where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rates = _Rates()
        self._next = 0.0

    def phase(self, text: str, seconds: float | None = None) -> None:
        """Prints what is done now."""
        self._console.print(f"{text} ({seconds:.0f} s)" if seconds else text, highlight=False)
        self._next = time.monotonic() + _LINE_SECONDS

    def live(self, totals: Mapping[str, int], error_count: int) -> None:
        """Prints rates, now and then."""
        if time.monotonic() >= self._next and totals:
            self._next = time.monotonic() + _LINE_SECONDS
            if words := self._rates.in_words(totals, error_count):
                self._console.print(f"  {words}", highlight=False)

    def close(self) -> None:
        """Has nothing to take away."""


def wide_console() -> Console:
    """For tables: as wide as the terminal, or, into a file, as wide as they need."""
    console = Console()
    return console if console.is_terminal else Console(width=_FILE_WIDTH)


def make_watcher(console: Console) -> Bar | Lines:
    """What suits where the output goes."""
    return Bar(console) if console.is_terminal else Lines(console)
