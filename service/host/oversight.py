"""The supervisor's loop: watches all processes until a signal asks to stop, then lets those that serve end.

Scrapes are answered in both. What is started before and stopped after is in `supervisor.py`.
"""

import selectors
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from service.host.reloading import HandedSettings
from service.host.restart_policy import RestartPolicy
from service.host.serving_process import ServingProcess
from service.host.signals import Signals
from service.host.systemd import Notifier
from service.settings.start_error import StartError

if TYPE_CHECKING:
    from service.host.metrics_endpoint import MetricsEndpoint

_TICK_SECONDS = 0.5
_STARTING_TICK_SECONDS = 0.02
# The supervisor itself did not run for this long: the silence of others says nothing.
_SUSPENDED_SECONDS = 5.0
# A process that ended this often before all of them served won't come up by itself.
_FUTILE_STARTS = 4

_log = structlog.get_logger(__name__)


class Oversight:
    """Keeps the processes that serve and the databases running.

    Args:
        processes: all that serve.
        policies: of all processes, the databases included.
        endpoint: None where metrics are off.
        settings: what the processes that serve are handed.
    """

    def __init__(
        self,
        processes: Sequence[ServingProcess],
        policies: Sequence[RestartPolicy],
        signals: Signals,
        selector: selectors.BaseSelector,
        endpoint: "MetricsEndpoint | None",
        settings: HandedSettings,
    ) -> None:
        self._processes = processes
        self._policies = policies
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
            announce: called when all processes serve for the first time.

        Raises:
            StartError: a process keeps ending before all of them have served.
        """
        last_look = time.monotonic()
        while not self._signals.stop_count:
            self._wait(self._pause() if self._is_announced else _STARTING_TICK_SECONDS)
            now = time.monotonic()
            if now - last_look > _SUSPENDED_SECONDS:
                for process in self._processes:
                    process.forgive()
            last_look = now
            for policy in self._policies:
                policy.tick(now)
            if self._is_announced:
                self._reload_if_asked()
                continue
            if all(process.is_ready for process in self._processes):
                self._is_announced = True
                announce()
                self._notifier.send("READY=1")
            for policy in self._policies:
                if policy.end_count >= _FUTILE_STARTS:
                    raise StartError(f"{policy.name} does not come up: {policy.last_end}; the log says more")

    def _reload_if_asked(self) -> None:
        """Takes changed settings over at SIGHUP, when all processes serve: one that starts would miss it."""
        if self._signals.wants_reload and all(process.is_ready for process in self._processes):
            self._signals.wants_reload = False
            self._notifier.reloading()
            self._settings.reload()
            for process in self._processes:
                process.hand_again(self._settings.text.encode())
            self._notifier.send("READY=1")

    def stop_processes(self) -> None:
        """Lets the processes finish what they do; kills those that are left after the limit, or at a second signal.

        Ctrl-C and the end of a start are without the delay in which processes serve on.
        """
        _log.info("stopping")
        self._notifier.send("STOPPING=1")
        is_hasty = self._signals.is_hasty or not self._is_announced
        for process in self._processes:
            process.ask_to_end(is_hasty=is_hasty)
        deadline = time.monotonic() + self._settings.stop_seconds
        while time.monotonic() < deadline and self._signals.stop_count < 2:
            if all(process.has_ended() for process in self._processes):
                return
            self._wait(_TICK_SECONDS)
        for process in self._processes:
            if not process.has_ended():
                _log.warning("worker is killed while it finishes", name=process.name)
                process.discard()

    def _wait(self, seconds: float) -> None:
        """Waits for a signal, a child's end included, or for the time to pass; answers scrapes."""
        ready = [key for key, _ in self._selector.select(seconds)]
        if self._endpoint is not None:
            self._endpoint.serve(ready)
        self._signals.drain()
        self._notifier.tick(time.monotonic())

    def _pause(self) -> float:
        times = [policy.restart_time for policy in self._policies if policy.restart_time is not None]
        return min([_TICK_SECONDS, *(max(restart_time - time.monotonic(), 0.0) for restart_time in times)])
