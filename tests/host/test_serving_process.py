"""Processes of any role, with a small program: how they are started, handed settings, watched and stopped."""

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from service.host import roles
from service.host.plan import Plan
from service.host.process_end import End
from service.host.reloading import HandedSettings
from service.host.restart_policy import RestartPolicy
from service.host.roles import PREPARER, RELOADER, SERVING, WORKER, Role
from service.host.serving_process import ServingProcess
from service.host.starting import list_processes, start_processes
from tests.support.waiting import wait_until

PLAN = Plan("d", "l", "", 2, "info", "json", 1.0, 1, needs_postgres=False, needs_valkey=False)
RELAY = Role(
    "relay",
    handed="the settings",
    stop_signal=signal.SIGUSR1,
    orphan_signal=signal.SIGTERM,
    hasty_stop_signal=signal.SIGUSR2,
    count=lambda plan: plan.workers + 1,
)
# Says in the file that its settings name which arguments, settings and signal it got. Settings that end with "!": it
# serves until a signal comes.
PROGRAM = """
import os, signal, sys
role, index, beats, segment, news = sys.argv[1:]
settings = sys.stdin.read()
got = []
for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
    signal.signal(number, lambda number, _: got.append(signal.Signals(number).name))
if settings.endswith("!"):
    os.write(int(beats), b"R")
while not got:
    signal.pause()
with open(settings.rstrip("!") + index, "w") as file:
    file.write(f"{role} {index} {got[0]}")
"""


@dataclass
class Clock:
    """A clock that is set by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Returns the time."""
        return self.now


@pytest.fixture(autouse=True)
def program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "PROGRAM", (sys.executable, "-S", "-c", PROGRAM))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def process(clock: Clock) -> Iterator[ServingProcess]:
    process = ServingProcess(RELAY, 1, clock=clock)
    yield process
    process.discard()


def find_end(process: ServingProcess) -> End:
    """Waits for the end of a process."""
    return wait_until(process.find_end, what="its end")


def wait_for_handlers(process: ServingProcess) -> None:
    """Waits until the program has a handler for SIGTERM, the last one that it sets."""

    def has_handler() -> bool:
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        (caught,) = [line.split()[1] for line in status if line.startswith("SigCgt")]
        return bool(int(caught, 16) & 1 << signal.SIGTERM - 1)

    wait_until(has_handler, what="the handlers")


def serve(process: ServingProcess, place: Path) -> None:
    """Starts a process and waits until it serves."""
    process.spawn()
    process.hand(f"{place}/!".encode())
    wait_until(lambda: process.find_end() is None and process.is_ready, what="ready")


@pytest.mark.parametrize(("is_hasty", "got"), [(False, "SIGUSR1"), (True, "SIGUSR2")])
def test_a_process_is_handed_its_settings_and_stopped_as_its_role_says(
    process: ServingProcess, tmp_path: Path, is_hasty: bool, got: str
) -> None:
    serve(process, tmp_path)
    process.ask_to_end(is_hasty=is_hasty)
    assert find_end(process) == End("status 0")
    assert not process.is_ready
    assert (tmp_path / "1").read_text() == f"relay 1 {got}"


def test_a_process_that_does_not_serve_yet_has_no_delay_to_be_hasty_about(
    process: ServingProcess, tmp_path: Path
) -> None:
    process.spawn()
    process.hand(f"{tmp_path}/".encode())
    wait_for_handlers(process)
    process.ask_to_end(is_hasty=True)
    find_end(process)
    assert (tmp_path / "1").read_text() == "relay 1 SIGUSR1"


@pytest.mark.parametrize(("is_serving", "limit_seconds"), [(False, 30.0), (True, 10.0)])
@pytest.mark.parametrize("is_too_long", [False, True])
def test_a_silent_process_is_killed_after_its_limit_and_not_before(
    process: ServingProcess, clock: Clock, tmp_path: Path, is_serving: bool, limit_seconds: float, is_too_long: bool
) -> None:
    process.spawn()
    clock.now += 25.0  # its modules load: what counts begins when the settings are handed over
    process.hand(f"{tmp_path}/{'!' if is_serving else ''}".encode())
    wait_for_handlers(process)
    if is_serving:
        wait_until(lambda: process.find_end() is None and process.is_ready, what="ready")
    clock.now += limit_seconds + (0.1 if is_too_long else -0.1)
    assert process.find_end() is None
    process.ask_to_end(is_hasty=False)  # what was not killed ends by itself
    end = find_end(process)
    assert end == End("killed: its event loop was silent for too long" if is_too_long else "status 0")


def test_a_process_that_is_started_again_begins_with_the_limit_of_a_start(
    process: ServingProcess, clock: Clock, tmp_path: Path
) -> None:
    serve(process, tmp_path)
    process.ask_to_end(is_hasty=False)
    find_end(process)
    process.spawn()
    process.hand(f"{tmp_path}/".encode())
    wait_for_handlers(process)
    clock.now += 29.0
    assert process.find_end() is None
    assert not process.is_ready
    process.ask_to_end(is_hasty=False)
    assert find_end(process) == End("status 0")


def test_each_role_has_as_many_processes_as_the_plan_says_and_the_first_one_is_kept() -> None:
    with ExitStack() as stack:
        first = ServingProcess(WORKER, 0)
        processes = list_processes(first, PLAN, stack, roles=[WORKER, RELAY, PREPARER])
        assert [process.name for process in processes] == ["worker 0", "worker 1", "relay 0", "relay 1", "relay 2"]
        assert processes[0] is first


def test_processes_of_a_new_role_are_started_handed_settings_watched_and_killed_at_the_end(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = ServingProcess(WORKER, 0)
        processes = list_processes(first, PLAN, stack, roles=[WORKER, RELAY])
        policies: list[RestartPolicy] = start_processes(processes, HandedSettings([], f"{tmp_path}/!", 1.0))
        assert [policy.name for policy in policies] == [process.name for process in processes]
        for process in processes:
            wait_until(lambda process=process: process.find_end() is None and process.is_ready, what=process.name)
        assert len({process.pid for process in processes}) == 5
    assert all(process.has_ended() for process in processes)


def test_workers_are_what_serves_and_helpers_are_killed_with_the_supervisor() -> None:
    assert SERVING == (WORKER,)
    assert WORKER.count is not None
    assert WORKER.count(replace(PLAN, workers=7)) == 7
    assert (WORKER.stop_signal, WORKER.hasty_stop_signal, WORKER.orphan_signal) == (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGTERM,
    )
    assert {role.orphan_signal for role in (PREPARER, RELOADER)} == {signal.SIGKILL}
