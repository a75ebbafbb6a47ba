"""`parley serve`: has what workers need prepared, starts all processes, and keeps them running until it is to stop.

`_serve` reads from top to bottom as start-up; the end of its ExitStack is shutdown, in reverse. This process stays and
has to be small: what takes much memory is loaded by the process that prepares (`preparer.py`) and by workers alone.
ADR 18 says why the processes are as they are.
"""

import selectors
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from setproctitle import setproctitle

from service import logs
from service.host.address import AddressError, hold_address, open_listeners
from service.host.data_directory import DataDirectoryError, hold_data_directory
from service.host.embedded import keep, start_embedded
from service.host.file_limit import get_file_limit
from service.host.oversight import Oversight
from service.host.preparer_process import PreparationFailed, PreparerProcess
from service.host.reloading import HandedSettings
from service.host.restart_policy import RestartPolicy
from service.host.roles import WORKER
from service.host.serving_process import ServingProcess
from service.host.signals import Signals, StopRequested
from service.host.starting import list_processes, start_processes
from service.settings.host_port import is_loopback, split_listen
from service.settings.start_error import StartError
from storage.embedded import EmbeddedPostgres, EmbeddedValkey
from storage.embedded.process import EmbeddedServer

if TYPE_CHECKING:
    from service.host.metrics_endpoint import MetricsEndpoint

# Nobody is warned for a twentieth of the files that the settings promise: several streams share a connection.
_ENOUGH_FILES = 0.95

_log = structlog.get_logger(__name__)


def serve(first: ServingProcess, preparer: PreparerProcess, signals: Signals, begin: float) -> int:
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


def _serve(first: ServingProcess, preparer: PreparerProcess, signals: Signals, stack: ExitStack, begin: float) -> None:
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
    if get_file_limit() < plan.needed_files * _ENOUGH_FILES:
        _log.warning(
            "fewer files may be open than limits.max_streams may need: raise the hard limit (ulimit -Hn, LimitNOFILE),"
            " or lower limits.max_streams; connections beyond it are refused",
            limit=get_file_limit(),
            needed=plan.needed_files,
        )
    signals.check()
    processes = list_processes(first, plan, stack)
    settings = HandedSettings(preparer.arguments, prepared.settings, plan.stop_seconds)
    policies = start_processes(processes, settings) + [keep(server) for server in servers]
    preparer.discard()

    def announce() -> None:
        seconds = round(time.monotonic() - begin, 2)
        _log.info("ready", listen=listen, workers=plan.workers, metrics=metrics_listen, seconds=seconds)
        if sys.stdout.isatty():  # it is for people; elsewhere it would stand among the lines of the log
            sys.stdout.write(prepared.screen)
            sys.stdout.flush()

    selector = stack.enter_context(selectors.DefaultSelector())
    workers = [process for process in processes if process.role is WORKER]
    endpoint = _serve_metrics(listeners, selector, workers, policies, signals)
    if endpoint is not None:
        stack.callback(endpoint.close)
    oversight = Oversight(processes, policies, signals, selector, endpoint, settings)
    oversight.run(announce)
    oversight.stop_processes()


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
    workers: Sequence[ServingProcess],
    policies: Sequence[RestartPolicy],
    signals: Signals,
) -> "MetricsEndpoint | None":
    if not listeners:
        return None
    from service.host.metrics_endpoint import MetricsEndpoint
    from service.host.metrics_exposition import Exposition

    exposition = Exposition(workers, policies)

    def find_trouble() -> str:
        return "the server is stopping" if signals.stop_count else exposition.find_trouble()

    return MetricsEndpoint(listeners, selector, exposition, find_trouble)
