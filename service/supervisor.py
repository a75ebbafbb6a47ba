"""`parley serve`: prepares what workers need, starts them, and keeps everything running until it is told to stop.

`serve` reads from top to bottom as start-up; the end of its ExitStack is shutdown, in reverse. Never imports grpc.
"""

import json
import selectors
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING

import structlog
from setproctitle import setproctitle

from service import logs, preparation
from service.address import AddressError, hold_address, open_listeners
from service.config import Settings, is_loopback, split_listen
from service.data_directory import DataDirectoryError, hold_data_directory
from service.keeper import Keeper
from service.loading import load, reveal
from service.preparation import StartError
from service.signals import Signals, StopRequested
from service.worker_process import WorkerProcess
from storage.embedded import EmbeddedError
from storage.embedded.process import EmbeddedServer

if TYPE_CHECKING:
    from service.metrics.endpoint import MetricsEndpoint

_TICK_SECONDS = 0.5
_STARTING_TICK_SECONDS = 0.02
# The supervisor itself did not run for this long: the workers' silence says nothing.
_SUSPENDED_SECONDS = 5.0
_DRAIN_SECONDS = 12.0
# A worker that ended this often before all of them served won't come up by itself.
_FUTILE_STARTS = 4

_log = structlog.get_logger(__name__)


def serve(flags: Mapping[str, object], config_file: Path | None, first: WorkerProcess, begin: float) -> None:
    """Runs the server until a signal asks it to stop.

    Args:
        first: worker 0, spawned already, so that it loads its modules meanwhile.
        begin: when the command was started, on the monotonic clock.

    Raises:
        ConfigError: the settings are wrong.
        StartError: it can't start.
    """
    setproctitle("parley serve")
    with suppress(StopRequested), ExitStack() as stack:
        signals = stack.enter_context(Signals())
        stack.callback(first.discard)
        settings = load(flags, config_file=config_file).settings
        logs.configure(settings.log, process="serve")
        preparation.check_transport(settings)
        try:
            directory = stack.enter_context(hold_data_directory(settings.data_dir, signals.check))
            listen = stack.enter_context(hold_address(settings.listen))
            listeners, metrics_listen = _open_metrics(settings, stack)
        except (AddressError, DataDirectoryError) as error:
            raise StartError(str(error)) from None
        directory.publish(listen)
        preparation.ensure_keys(settings)
        servers = preparation.start_embedded(settings, stack, signals.check)
        settings = preparation.resolve(settings, listen=listen, metrics_listen=metrics_listen, servers=servers)
        preparation.bring_up_to_date(settings, signals.check)
        signals.check()
        workers = [first, *(WorkerProcess(index) for index in range(1, settings.workers))]
        stack.callback(_stop_workers, workers, signals)
        keepers = _start_workers(workers, settings) + [_keep_server(server) for server in servers]
        # Only now: it takes long to load, and meanwhile the workers do so too.
        from service.first_screen import print_first_screen

        def announce() -> None:
            _log.info("ready", listen=listen, workers=len(workers), seconds=round(time.monotonic() - begin, 2))
            print_first_screen(settings)

        selector = stack.enter_context(selectors.DefaultSelector())
        endpoint = _serve_metrics(listeners, selector, workers, keepers)
        if endpoint is not None:
            stack.callback(endpoint.close)
        _watch(workers, keepers, signals, selector, endpoint, announce)


def _open_metrics(settings: Settings, stack: ExitStack) -> tuple[list[socket.socket], str]:
    """Listens for scrapes, early, so that a port that is taken ends the start; gives nothing where metrics are off."""
    if not settings.metrics.listen:
        return [], ""
    listeners, listen = stack.enter_context(open_listeners(settings.metrics.listen, "PARLEY_METRICS_LISTEN"))
    if not is_loopback(split_listen(listen)[0]):
        _log.warning("metrics can be read from other machines", listen=listen)
    return listeners, listen


def _serve_metrics(
    listeners: Sequence[socket.socket],
    selector: selectors.BaseSelector,
    workers: Sequence[WorkerProcess],
    keepers: Sequence[Keeper],
) -> "MetricsEndpoint | None":
    if not listeners:
        return None
    from service.metrics.endpoint import MetricsEndpoint
    from service.metrics.exposition import Exposition

    return MetricsEndpoint(listeners, selector, Exposition(workers, keepers))


def _start_workers(workers: Sequence[WorkerProcess], settings: Settings) -> list[Keeper]:
    handed = json.dumps(reveal(settings)).encode()
    keepers = []
    for worker in workers:

        def start(worker: WorkerProcess = worker) -> None:
            worker.spawn()
            worker.hand(handed)

        if worker.is_spawned:
            worker.hand(handed)
        else:
            start()
        keepers.append(Keeper(worker.name, find_end=worker.find_end, start=start, now=time.monotonic()))
    return keepers


def _keep_server(server: EmbeddedServer) -> Keeper:
    def find_end() -> str | None:
        return None if server.is_alive() else f"status {server.process.returncode if server.process else None}"

    return Keeper(
        server.name,
        find_end=find_end,
        start=server.restart_if_dead,
        failures=(EmbeddedError,),
        now=time.monotonic(),
    )


def _watch(
    workers: Sequence[WorkerProcess],
    keepers: Sequence[Keeper],
    signals: Signals,
    selector: selectors.BaseSelector,
    endpoint: "MetricsEndpoint | None",
    announce: Callable[[], None],
) -> None:
    """Looks after all processes until a signal asks to stop."""
    is_announced = False
    last_look = time.monotonic()
    selector.register(signals.wakeup, selectors.EVENT_READ)
    while not signals.stop_count:
        ready = [key for key, _ in selector.select(_pause(keepers) if is_announced else _STARTING_TICK_SECONDS)]
        if endpoint is not None:
            endpoint.serve(ready)
        signals.drain()
        now = time.monotonic()
        if now - last_look > _SUSPENDED_SECONDS:
            for worker in workers:
                worker.forgive()
        last_look = now
        for keeper in keepers:
            keeper.tick(now)
        if is_announced:
            continue
        if all(worker.is_ready for worker in workers):
            is_announced = True
            announce()
        elif any(keeper.end_count >= _FUTILE_STARTS for keeper in keepers):
            raise StartError("the workers don't come up; the log says why")


def _pause(keepers: Sequence[Keeper]) -> float:
    times = [keeper.restart_time for keeper in keepers if keeper.restart_time is not None]
    return min([_TICK_SECONDS, *(max(restart_time - time.monotonic(), 0.0) for restart_time in times)])


def _stop_workers(workers: Sequence[WorkerProcess], signals: Signals) -> None:
    """Lets the workers finish what they do; kills those that are left after 12 s, or at a second signal."""
    _log.info("stopping")
    for worker in workers:
        worker.send(SIGTERM)
    deadline = time.monotonic() + _DRAIN_SECONDS
    while time.monotonic() < deadline and signals.stop_count < 2 and not all(w.has_ended() for w in workers):
        time.sleep(_STARTING_TICK_SECONDS)
    for worker in workers:
        if not worker.has_ended():
            _log.warning("worker is killed while it finishes", name=worker.name)
        worker.discard()
