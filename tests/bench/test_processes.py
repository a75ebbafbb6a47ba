"""What processes use: of a real server under load, with backends and workers that end while it is measured."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import psutil
import pytest

from bench.processes import Usage, tree_cpu_seconds
from bench.results import ProcessUse
from storage.embedded import EmbeddedPostgres
from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_until

_BURN = "SELECT count(*) FROM generate_series(1, 2000000)"
_TICK_SECONDS = 0.01  # what the kernel counts in


@contextmanager
def burning(code: str) -> Iterator["subprocess.Popen[str]"]:
    """Runs Python that prints a line when it has burnt what it had to, and then waits to be told to end."""
    command = [sys.executable, "-I", "-S", "-c", f"{code}\nprint(flush=True)\ninput()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def await_line(process: "subprocess.Popen[str]") -> None:
    """Waits until the process printed its line."""
    assert process.stdout is not None
    process.stdout.readline()


def by_kind(uses: tuple[ProcessUse, ...]) -> dict[str, ProcessUse]:
    """The uses by their kind, each of which comes once."""
    found = {use.kind: use for use in uses}
    assert len(found) == len(uses)
    return found


async def burn_in_postgres(server: RunningServer, times: int) -> None:
    """Lets backends, one after another, take processor time and end."""
    url = EmbeddedPostgres(server.data_dir).url
    for _ in range(times):
        connection = await asyncpg.connect(url)
        await connection.fetchval(_BURN)
        await connection.close()


def list_postgres(server: RunningServer) -> set[psutil.Process]:
    """The processes of PostgreSQL, its first one included."""
    (postmaster,) = (
        child for child in psutil.Process(server.process.pid).children() if child.name().startswith("postgres")
    )
    return {postmaster, *postmaster.children()}


def test_server_is_counted_by_kind_and_ended_backends_with_it() -> None:
    with running_server(workers=2) as server:
        usage = Usage(server.process.pid, [os.getpid()])
        usage.start()
        asyncio.run(burn_in_postgres(server, 3))
        before = list_postgres(server)
        found = by_kind(usage.stop())
        throughout = before & list_postgres(server)  # backends come and go by themselves
    assert list(found) == ["supervisor", "server", "postgresql", "valkey", "generator"]
    assert (found["supervisor"].processes, found["server"].processes, found["valkey"].processes) == (1, 2, 1)
    assert found["postgresql"].processes >= len(throughout) > 2
    burnt = found["postgresql"].cpu_seconds
    assert burnt > 3 * 0.03, "a count to two million takes longer on any machine"
    assert all(use.rss_bytes > 1_000_000 for use in found.values())


def test_shared_memory_of_postgresql_counts_once() -> None:
    with running_server() as server:
        usage = Usage(server.process.pid, [])
        usage.start()
        (use,) = (use for use in usage.stop() if use.kind == "postgresql")
        (postmaster,) = (
            child for child in psutil.Process(server.process.pid).children() if child.name().startswith("postgres")
        )
        family = [postmaster, *postmaster.children(recursive=True)]
        several_times = sum(process.memory_info().rss for process in family)
        proportional = sum(process.memory_full_info().pss for process in family)
    assert use.rss_bytes < several_times / 2
    assert use.rss_bytes == pytest.approx(proportional, rel=0.35)


def test_worker_that_is_killed_in_between_keeps_its_figures() -> None:
    with running_server(workers=2) as server:
        supervisor = psutil.Process(server.process.pid)
        victim = next(child for child in supervisor.children() if "parley worker 1" in " ".join(child.cmdline()))
        usage = Usage(server.process.pid, [])
        usage.start()
        victim.send_signal(signal.SIGKILL)
        wait_until(lambda: "ready" in server.text and len(list_workers(supervisor, victim)) == 2, what="a new worker")
        found = by_kind(usage.stop())
        started = sum(sum(child.cpu_times()[:2]) for child in list_workers(supervisor, victim))
    assert found["server"].processes == 2
    assert 0 < found["server"].cpu_seconds <= started


def list_workers(supervisor: psutil.Process, but: psutil.Process) -> list[psutil.Process]:
    """The workers that there are, one that was killed left out."""
    return [child for child in supervisor.children() if child != but and "parley worker" in " ".join(child.cmdline())]


def test_generators_count_by_themselves_and_from_the_start_alone() -> None:
    with burning("for n in range(3_000_000): pass") as process:
        await_line(process)
        before = sum(psutil.Process(process.pid).cpu_times()[:2])
        usage = Usage(None, [process.pid])
        usage.start()
        (use,) = usage.stop()
    assert (use.kind, use.processes) == ("generator", 1)
    assert before > 2 * _TICK_SECONDS
    assert use.cpu_seconds <= _TICK_SECONDS


def test_server_that_is_gone_leaves_what_was_seen() -> None:
    with burning("pass") as process:
        await_line(process)
        usage = Usage(process.pid, [])
        usage.start()
    assert [use.kind for use in usage.stop()] == ["supervisor"]


def test_nothing_known_is_no_use() -> None:
    usage = Usage(None, [])
    usage.start()
    assert usage.stop() == ()


def test_children_that_ended_are_in_the_time_of_their_parent() -> None:
    code = (
        "import subprocess, sys\nsubprocess.run([sys.executable, '-I', '-S', '-c', 'for n in range(3_000_000): pass'])"
    )
    with burning(code) as process:
        await_line(process)
        own = sum(psutil.Process(process.pid).cpu_times()[:2])
        assert tree_cpu_seconds(process.pid) > own + 2 * _TICK_SECONDS
