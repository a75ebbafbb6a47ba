"""Measures all limits one after another, each in a process of its own, on databases that it starts for that.

Databases are started in processes that have no threads, since Python runs between fork and exec there.
"""

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import psutil
import uvloop

from bench.limit.commit import measure_commit
from bench.limit.disk import measure_disk
from bench.limit.echo import measure_echo
from bench.limit.publish import measure_publish
from storage.embedded import EmbeddedPostgres, EmbeddedValkey
from storage.postgres.schema.migrate import migrate

PipeEnd: TypeAlias = "Connection[Any, Any]"
_Measure = Callable[[Path, float], dict[str, float]]

_SCHEMA = "parley"
_MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs"}


class LimitError(Exception):
    """A limit can't be measured; the text is one line for the operator."""


def measure_limits(
    seconds: float, *, directory: Path | None = None, tell: Callable[[str], None] = lambda text: None
) -> dict[str, float]:
    """Measures this machine's limits, for about so many seconds each; group commit takes some three times as long.

    Args:
        directory: on the disk that is to be measured. None: the temporary directory.
        tell: is called with what comes next, in words.

    Returns:
        Numbers by name, the unit in the name; what each is says the function that measures it.

    Raises:
        LimitError: one can't be measured.
    """
    found: dict[str, float] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="parley-limit-", dir=directory) as name:
            if os.geteuid() == 0:
                Path(name).chmod(0o711)  # PostgreSQL runs as a user of its own then
            for words, measure in _MEASURES.items():
                tell(words)
                found |= _apart(words, measure, Path(name), seconds)
    except OSError as error:
        raise LimitError(f"the limits can't be measured: {error}") from error
    return found


def is_in_memory(directory: Path | None = None) -> bool:
    """Returns whether a directory (None: the temporary one) is on no disk, so that fsyncs and commits cost nothing."""
    path = (directory or Path(tempfile.gettempdir())).resolve()
    mounts = [each for each in psutil.disk_partitions(all=True) if path.is_relative_to(each.mountpoint)]
    innermost = max(mounts, key=lambda each: len(each.mountpoint), default=None)
    return innermost is not None and innermost.fstype in _MEMORY_FILE_SYSTEMS


def _apart(words: str, measure: _Measure, directory: Path, seconds: float) -> dict[str, float]:
    """Runs it in a process of its own, which has stopped what it started when this returns or is interrupted.

    Raises:
        LimitError: it failed, or the process was killed.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measuring_process, args=(theirs, measure, directory, seconds))
    process.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError:
        process.join()
        raise LimitError(f"{words} can't be measured: the process ended with status {process.exitcode}") from None
    finally:
        process.terminate()  # does nothing when it is done
        process.join()
        ours.close()
    if isinstance(answer, str):
        raise LimitError(f"{words} can't be measured: {answer}")
    return dict(answer)


def _measuring_process(parent: PipeEnd, measure: _Measure, directory: Path, seconds: float) -> None:
    # Ctrl-C comes to all processes of the terminal, perhaps twice; only the parent says when to stop, and once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _exit)
    try:
        answer: dict[str, float] | str = measure(directory, seconds)
    except Exception as error:  # noqa: BLE001 # of any kind: the other side says it in a line
        answer = _in_words(error)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent.send(answer)


def _in_words(error: BaseException) -> str:
    """What went wrong first, in a line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(f"{type(error).__name__}: {error}".split())


def _exit(_number: int, _frame: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(1)


def _measure_commit(directory: Path, seconds: float) -> dict[str, float]:
    postgres = EmbeddedPostgres(directory)
    try:
        postgres.start()
        assert postgres.process is not None
        uvloop.run(migrate(postgres.url, schema=_SCHEMA))
        return uvloop.run(measure_commit(postgres.url, _SCHEMA, postgres.process.pid, seconds))
    finally:
        postgres.stop()


def _measure_publish(directory: Path, seconds: float) -> dict[str, float]:
    valkey = EmbeddedValkey(directory)
    try:
        valkey.start()
        return measure_publish(valkey.socket_path, seconds)
    finally:
        valkey.stop()


def _measure_echo(_directory: Path, seconds: float) -> dict[str, float]:
    return measure_echo(seconds)


_MEASURES = {
    "group commit": _measure_commit,
    "writes that the disk keeps": measure_disk,
    "Redis publish": _measure_publish,
    "stream echo": _measure_echo,
}
