"""A worker from the inside: gets its settings, sets up logging, signals and the heartbeat, and runs the server.

Started by the supervisor alone. What it serves is in `server.py`.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from setproctitle import setproctitle

from service.host.heartbeats import BEAT, LAST_WORDS, PLANNED_STATUS, READY
from service.host.structlog_alone import load_structlog

if TYPE_CHECKING:
    from service.settings.tree import Settings

_BEAT_SECONDS = 1.0
# The thread that waits for completions polls the sockets, too, as in every grpcio before 1.80, and no threads of their
# own: each event is delivered once less, which is a quarter of a bare unary call (docs/adr/0004-generic-handlers.md).
GRPC_EXPERIMENTS = "-event_engine_poller_for_python"


def main(index: int, beats: int, segment: int, news: int | None) -> int:
    """Runs until SIGTERM; returns the exit status.

    Args:
        beats: the file descriptor that heartbeats go to.
        segment: that of the metrics' segment.
        news: where settings are that changed, when SIGHUP says so.
    """
    setproctitle(f"parley worker {index}")
    os.environ.setdefault("GRPC_EXPERIMENTS", GRPC_EXPERIMENTS)  # grpc looks when it is first used
    _load_early()
    handed = sys.stdin.buffer.read()
    if not handed:  # the supervisor gave up before it knew the settings
        return 0
    from service import logs
    from service.host.data_directory import mark_worker
    from service.settings.handoff import to_settings
    from service.worker.plain_lines import take_over_stderr

    settings = to_settings(json.loads(handed))
    stderr = take_over_stderr()
    logs.configure(settings.log.level, settings.log.format, process=f"worker {index}", stream=stderr)
    mark_worker(settings.data_dir)

    import structlog
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(_serve(settings, index, beats, segment, news))
        except Exception as error:  # noqa: BLE001 # the end of the process: say why, once
            structlog.get_logger(__name__).exception("worker failed")
            with contextlib.suppress(OSError):
                os.write(beats, LAST_WORDS + logs.to_line(error).encode())
            return 1


def _load_early() -> None:
    """Loads what takes long while the supervisor still prepares; not grpc, which comes after logging is set up."""
    load_structlog()
    for name in ("uvloop", "redis.asyncio", "asyncpg", "jwt", "argon2"):
        import_module(name)


async def _serve(settings: "Settings", index: int, beats: int, segment: int, news: int | None) -> int:
    """Serves to the end; returns the exit status."""
    from service.settings.handoff import to_settings
    from service.settings.stop_times import find_delay_seconds
    from service.worker.composition.reloading import LiveSettings
    from service.worker.server import run_worker
    from service.worker.stopping import Stop

    loop = asyncio.get_running_loop()
    stop = Stop()
    live = LiveSettings(settings)

    def on_signal(number: signal.Signals) -> None:
        if not stop.is_serving:
            os._exit(0)  # nobody has a call here
        if os.getppid() != supervisor:  # the kernel says so with SIGTERM; the next server waits for this worker
            stop.hurry()
        elif stop.is_asked:  # asked twice
            os._exit(1)
        elif number is signal.SIGINT:  # the supervisor's word for "without a delay"
            stop.hurry()
        else:
            stop.ask(find_delay_seconds(live.current.shutdown, settings.listen))

    supervisor = os.getppid()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)

    def on_reload() -> None:
        text = b"" if news is None else os.pread(news, os.fstat(news).st_size, 0).strip(b"\0")
        if text:  # else somebody sent the signal to all processes, and nothing has changed
            live.take(to_settings(json.loads(text)))

    loop.add_signal_handler(signal.SIGHUP, on_reload)
    os.set_blocking(beats, False)

    def write(byte: bytes) -> None:
        try:
            os.write(beats, byte)
        except BlockingIOError:
            pass  # the supervisor does not read just now; it finds the earlier ones
        except BrokenPipeError:
            stop.hurry()  # it is gone

    def beat() -> None:
        write(BEAT)

    async def keep_beating() -> None:
        while True:
            beat()
            await asyncio.sleep(_BEAT_SECONDS)

    beating = asyncio.create_task(keep_beating())
    try:
        await run_worker(
            live, index=index, listen=settings.listen, segment=segment, beat=beat, ready=lambda: write(READY), stop=stop
        )
    finally:
        beating.cancel()
    return PLANNED_STATUS if stop.is_planned else 0
