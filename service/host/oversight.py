"""The supervisor's loop: looks after all processes until a signal asks to stop, then lets the workers end.

Scrapes are answered in both. What is started before and stopped after is in `supervisor.py`.
"""

import selectors
import time
from collections.abc import Callable, Sequence
from signal import SIGINT, SIGTERM
from typing import TYPE_CHECKING

import structlog

from service.host.reloading import HandedSettings
from service.host.restart_policy import RestartPolicy
from service.host.signals import Signals
from service.host.systemd import Notifier
from service.host.worker_process import WorkerProcess
from service.settings.start_error import StartError

if TYPE_CHECKING:
    from service.host.metrics_endpoint import MetricsEndpoint

_TICK_SECONDS = 0.5
_STARTING_TICK_SECONDS = 0.02
# The supervisor itself did not run for this long: the workers' silence says nothing.
_SUSPENDED_SECONDS = 5.0
# A worker that ended this often before all of them served won't come up by itself.
_FUTILE_STARTS = 4

_log = structlog.get_logger(__name__)


class Oversight:
    """Keeps workers and databases running.

    Args:
        policies: of all processes.
        endpoint: None where metrics are off.
        settings: what workers are given.
    """

    def __init__(
        self,
        workers: Sequence[WorkerProcess],
        policies: Sequence[RestartPolicy],
        signals: Signals,
        selector: selectors.BaseSelector,
        endpoint: "MetricsEndpoint | None",
        settings: HandedSettings,
    ) -> None:
        self._workers = workers
        self._keepers = policies
        self._signals = signals
        self._selector = selector
        self._endpoint = endpoint
        self._settings = settings
        self._notifier = Notifier()
        self._is_announced = False
        selector.register(signals.wakeup, selectors.EVENT_READ)

    def run(self, announce: Callable[[], None]) -> None:
        """Looks after all processes until a signal asks to stop.

        Args:
            announce: called when all workers serve for the first time.

        Raises:
            StartError: workers keep ending before all of them have served.
        """
        last_look = time.monotonic()
        while not self._signals.stop_count:
            self._wait(self._pause() if self._is_announced else _STARTING_TICK_SECONDS)
            now = time.monotonic()
            if now - last_look > _SUSPENDED_SECONDS:
                for worker in self._workers:
                    worker.forgive()
            last_look = now
            for policy in self._keepers:
                policy.tick(now)
            if self._is_announced:
                self._reload_if_asked()
                continue
            if all(worker.is_ready for worker in self._workers):
                self._is_announced = True
                announce()
                self._notifier.send("READY=1")
            for policy in self._keepers:
                if policy.end_count >= _FUTILE_STARTS:
                    raise StartError(f"{policy.name} does not come up: {policy.last_end}; the log says more")

    def _reload_if_asked(self) -> None:
        """Takes changed settings over at SIGHUP, when all workers serve: one that starts would miss it."""
        if self._signals.wants_reload and all(worker.is_ready for worker in self._workers):
            self._signals.wants_reload = False
            self._notifier.reloading()
            self._settings.reload()
            for worker in self._workers:
                worker.hand_again(self._settings.text.encode())
            self._notifier.send("READY=1")

    def stop_workers(self) -> None:
        """Lets the workers finish what they do; kills those that are left after the limit, or at a second signal.

        Ctrl-C and the end of a start are without the delay in which workers serve on.
        """
        _log.info("stopping")
        self._notifier.send("STOPPING=1")
        is_hasty = self._signals.is_hasty or not self._is_announced
        for worker in self._workers:
            worker.find_end()  # hears whether it serves by now: one that still loads takes SIGTERM alone quietly
            worker.send(SIGINT if is_hasty and worker.is_ready else SIGTERM)
        deadline = time.monotonic() + self._settings.stop_seconds
        while time.monotonic() < deadline and self._signals.stop_count < 2:
            if all(worker.has_ended() for worker in self._workers):
                return
            self._wait(_TICK_SECONDS)
        for worker in self._workers:
            if not worker.has_ended():
                _log.warning("worker is killed while it finishes", name=worker.name)
                worker.discard()

    def _wait(self, seconds: float) -> None:
        """Waits for a signal, a child's end included, or for the time to pass; answers scrapes."""
        ready = [key for key, _ in self._selector.select(seconds)]
        if self._endpoint is not None:
            self._endpoint.serve(ready)
        self._signals.drain()
        self._notifier.tick(time.monotonic())

    def _pause(self) -> float:
        times = [policy.restart_time for policy in self._keepers if policy.restart_time is not None]
        return min([_TICK_SECONDS, *(max(restart_time - time.monotonic(), 0.0) for restart_time in times)])
