"""`parley serve`: has prepared what workers need, starts them, and keeps everything running until it is told to stop.

`_serve` reads from top to bottom as start-up; the end of its ExitStack is shutdown, in reverse. This process stays and
is to be small: what takes much memory is loaded by the process that prepares (`preparer.py`) and by workers alone.
"""

import selectors
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING

import structlog
from setproctitle import setproctitle

from service import logs
from service.address import AddressError, hold_address, open_listeners
from service.data_directory import DataDirectoryError, hold_data_directory
from service.embedded import keep, start_embedded
from service.host_port import is_loopback, split_listen
from service.keeper import Keeper
from service.preparer_process import PreparationFailed, PreparerProcess
from service.signals import Signals, StopRequested
from service.start_error import StartError
from service.worker_process import WorkerProcess
from storage.embedded import EmbeddedPostgres, EmbeddedValkey
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


def serve(first: WorkerProcess, preparer: PreparerProcess, signals: Signals, begin: float) -> int:
    """Runs the server until a signal asks it to stop; returns the exit status.

    Args:
        first: worker 0, spawned already, so that it loads its modules meanwhile, as `preparer` does.
        begin: when the command was started, on the monotonic clock.
    """
    setproctitle("parley serve")
    try:
        with suppress(StopRequested), ExitStack() as stack:
            stack.callback(first.discard)
            stack.callback(preparer.discard)
            _serve(first, preparer, signals, stack, begin)
    except PreparationFailed as failure:
        return failure.status
    except StartError as error:
        sys.stderr.write(f"parley: {error}\n")
        return 1
    return 0


def _serve(first: WorkerProcess, preparer: PreparerProcess, signals: Signals, stack: ExitStack, begin: float) -> None:
    plan = preparer.wait_for_plan()
    logs.configure(plan.log_level, plan.log_format, process="serve")
    data_dir = Path(plan.data_dir)
    try:
        directory = stack.enter_context(hold_data_directory(data_dir, signals.check))
        listen = stack.enter_context(hold_address(plan.listen))
        listeners, metrics_listen = _open_metrics(plan.metrics_listen, stack)
    except (AddressError, DataDirectoryError) as error:
        raise StartError(str(error)) from None
    directory.publish(listen)
    postgres = EmbeddedPostgres(data_dir) if plan.needs_postgres else None
    valkey = EmbeddedValkey(data_dir) if plan.needs_valkey else None
    servers: list[EmbeddedServer] = [server for server in (postgres, valkey) if server is not None]
    start_embedded(servers, stack, signals.check)
    prepared = preparer.finish(
        listen=listen,
        metrics_listen=metrics_listen,
        database_url=None if postgres is None else postgres.url,
        redis_url=None if valkey is None else valkey.url,
    )
    signals.check()
    workers = [first, *(WorkerProcess(index) for index in range(1, plan.workers))]
    stack.callback(_stop_workers, workers, signals)
    keepers = _start_workers(workers, prepared.settings.encode()) + [keep(server) for server in servers]
    preparer.discard()

    def announce() -> None:
        _log.info("ready", listen=listen, workers=len(workers), seconds=round(time.monotonic() - begin, 2))
        sys.stdout.write(prepared.screen)
        sys.stdout.flush()

    selector = stack.enter_context(selectors.DefaultSelector())
    endpoint = _serve_metrics(listeners, selector, workers, keepers)
    if endpoint is not None:
        stack.callback(endpoint.close)
    _watch(workers, keepers, signals, selector, endpoint, announce)


def _open_metrics(wanted: str, stack: ExitStack) -> tuple[list[socket.socket], str]:
    """Listens for scrapes, early, so that a port that is taken ends the start; gives nothing where metrics are off."""
    if not wanted:
        return [], ""
    listeners, listen = stack.enter_context(open_listeners(wanted, "PARLEY_METRICS_LISTEN"))
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


def _start_workers(workers: Sequence[WorkerProcess], settings: bytes) -> list[Keeper]:
    keepers = []
    for worker in workers:

        def start(worker: WorkerProcess = worker) -> None:
            worker.spawn()
            worker.hand(settings)

        if worker.is_spawned:
            worker.hand(settings)
        else:
            start()
        keepers.append(Keeper(worker.name, find_end=worker.find_end, start=start, now=time.monotonic()))
    return keepers


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
