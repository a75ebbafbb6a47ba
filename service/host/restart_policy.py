"""Keeps one process running: starts it again when it has ended, with growing pauses. Does not know what it runs."""

from collections.abc import Callable

import structlog

from service.host.process_end import End

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
# A process that ran for this long begins again with the first pause.
_STEADY_SECONDS = 10.0

_log = structlog.get_logger(__name__)


class RestartPolicy:
    """Watches one process that was started at `now`.

    Args:
        name: for the log.
        find_end: says how the process ended; None while it runs.
        start: starts it again; may raise `failures`, which count as an end.
        now: seconds of a monotonic clock, as everywhere here.

    Attributes:
        end_count: how often it ended, unless that was planned.
        planned_count: how often it ended to be started anew.
        last_end: how it ended last, unless that was planned; "" before that.
        restart_time: when it will be started again; None while it runs.
    """

    def __init__(
        self,
        name: str,
        *,
        find_end: Callable[[], End | None],
        start: Callable[[], object],
        failures: tuple[type[Exception], ...] = (),
        now: float,
    ) -> None:
        self.name = name
        self._find_end = find_end
        self._start = start
        self._failures = failures
        self._start_time = now
        self.restart_time: float | None = None
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self.end_count = 0
        self.planned_count = 0
        self.last_end = ""

    def tick(self, now: float) -> None:
        """Looks at the process, and starts it again when its pause is over."""
        if self.restart_time is not None:
            if now >= self.restart_time:
                self._restart(now)
        elif (end := self._find_end()) is not None:
            self._plan(now, end)

    def _restart(self, now: float) -> None:
        self.restart_time = None
        self._start_time = now
        try:
            self._start()
        except self._failures as error:
            self._plan(now, End(str(error)))

    def _plan(self, now: float, end: End) -> None:
        if end.is_planned:
            self.planned_count += 1
            self.restart_time = now
            _log.info("process starts anew", name=self.name, reason=end.text)
            return
        self.end_count += 1
        self.last_end = end.text
        if now - self._start_time >= _STEADY_SECONDS:
            self._pause_seconds = _FIRST_PAUSE_SECONDS
        self.restart_time = now + self._pause_seconds
        _log.error("process ended; starting it again", name=self.name, end=end.text, pause_seconds=self._pause_seconds)
        self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)
