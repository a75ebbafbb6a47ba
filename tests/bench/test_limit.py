"""The machine's limits, measured for moments: every one is there, and what can't be measured is said in a line."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import typer
from typer.testing import CliRunner

from bench.limit import LimitError, measure_limits
from bench.limit.command import limit_command
from bench.limit.disk import measure_disk
from bench.limit.measure import is_in_memory
from bench.report.words import describe_limits
from bench.results import Report
from tests.support.waiting import wait_until

AGREED = {"group_commit_per_second", "stream_echo_per_second", "publish_per_second", "fsync_per_second"}


def make_app() -> typer.Typer:
    """The command alone."""
    app = typer.Typer()
    app.command()(limit_command)
    return app


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that PostgreSQL's own user gets to."""
    with tempfile.TemporaryDirectory(prefix="parley-place-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def test_command_measures_all_prints_them_and_leaves_nothing_behind(tmp_path: Path, place: Path) -> None:
    file = tmp_path / "limits.json"
    before = psutil.Process().children()  # other tests' databases
    result = CliRunner().invoke(
        make_app(), ["--seconds", "0.2", "--directory", str(place), "--json", str(file)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    limits = Report.read(file).limits
    assert set(limits) >= AGREED
    assert all(value > 0 for value in limits.values()), limits
    batches = [limits[f"group_commit_{batch}_per_second"] for batch in (20, 160, 1000)]
    assert limits["group_commit_per_second"] == max(batches)
    assert limits["group_commit_batch"] in (20, 160, 1000)
    assert limits["group_commit_connections"] in (1, 2, 4)
    assert all(words in result.output for words, _ in describe_limits(limits))
    assert not any(name in result.output for name in limits), "each has words"
    assert list(place.iterdir()) == []
    left = [child for child in psutil.Process().children() if child not in before]
    assert [child.name() for child in left if child.name().startswith("postgres")] == []


@contextmanager
def measuring(place: Path) -> Iterator["tuple[subprocess.Popen[str], list[psutil.Process]]"]:
    """Measures for long in a process of its own; gives it, and the PostgreSQL that it started, which is busy."""
    code = f"""
import signal
from pathlib import Path
from bench.limit import measure_limits
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    measure_limits(20.0, directory=Path({str(place)!r}))
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, stderr=subprocess.PIPE, text=True
    ) as command:
        try:
            wait_until(lambda: is_at_work(command.pid), limit_seconds=40, what="PostgreSQL")
            yield command, list_postgres(command.pid)
        finally:
            command.kill()


def test_interrupt_stops_what_was_started_and_leaves_nothing_behind(place: Path) -> None:
    """The signal goes to all processes of the group, as Ctrl-C does."""
    with measuring(place) as (command, started):
        os.killpg(command.pid, signal.SIGINT)
        _, errors = command.communicate(timeout=20)
    assert command.returncode == -signal.SIGINT, errors
    assert "KeyboardInterrupt" in errors
    wait_until(lambda: not any(process.is_running() for process in started), what="the end of PostgreSQL")
    assert list(place.iterdir()) == []


def test_database_that_dies_is_said_so_in_a_line(place: Path) -> None:
    with measuring(place) as (command, started):
        started[0].send_signal(signal.SIGQUIT)
        _, errors = command.communicate(timeout=20)
    assert re.fullmatch(
        r"bench\.limit\.measure\.LimitError: group commit can't be measured: .+", errors.splitlines()[-1]
    )
    assert list(place.iterdir()) == []


def is_at_work(pid: int) -> bool:
    """Whether one of these processes serves a connection that inserts."""
    try:
        return any(each.cmdline()[0].endswith("[local] INSERT") for each in list_postgres(pid) if each.cmdline())
    except (psutil.Error, IndexError):
        return False


def list_postgres(pid: int) -> list[psutil.Process]:
    """The PostgreSQL processes below a process."""
    try:
        return [each for each in psutil.Process(pid).children(recursive=True) if each.name().startswith("postgres")]
    except psutil.NoSuchProcess:
        return []


def test_directory_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(LimitError, match=r"can't be measured: .*absent"):
        measure_limits(0.1, directory=tmp_path / "absent")


def test_time_that_is_none_is_refused() -> None:
    result = CliRunner().invoke(make_app(), ["--seconds", "0"])
    assert result.exit_code == 2
    assert "--seconds" in re.sub(r"\x1b\[[0-9;]*m", "", result.output)


def test_failure_in_a_process_of_its_own_comes_as_one_line(tmp_path: Path) -> None:
    (tmp_path / "overwritten").mkdir()
    with pytest.raises(OSError, match="overwritten"):
        measure_disk(tmp_path, 0.1)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="a Linux thing")
def test_directory_in_memory_is_told_from_one_on_a_disk(tmp_path: Path) -> None:
    assert is_in_memory(Path("/dev/shm"))
    assert not is_in_memory(Path(__file__).parent)
