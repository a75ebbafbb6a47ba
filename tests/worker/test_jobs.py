"""Jobs come again, whatever became of the last turn; each has a time limit, and a failure is logged by its reason."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from service.worker.jobs import Hurry, Job, JobRunner, Scope
from service.worker.reconnections import Reconnections
from storage.errors import Unavailable
from tests.support.virtual_time import run_virtually
from tests.support.waiting import wait_for


@contextlib.asynccontextmanager
async def running(*runners: JobRunner) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(runner.run()) for runner in runners]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Scripted:
    """Work whose turns raise what is written down, one after the other; then they are done."""

    def __init__(self, *failures: Exception | None) -> None:
        self._failures = list(failures)
        self.times: list[float] = []

    async def __call__(self) -> None:
        self.times.append(asyncio.get_running_loop().time())
        if self._failures and (failure := self._failures.pop(0)) is not None:
            raise failure


def run_for(seconds: float, job: Job, work: Callable[[], Awaitable[object]]) -> list[tuple[str, str]]:
    """Runs a job for so long on a clock of its own; gives the lines of the log: (event, error)."""

    async def watch() -> None:
        async with running(JobRunner(job, work)):
            await asyncio.sleep(seconds)

    with capture_logs() as lines:
        run_virtually(watch())
    return [(line["event"], line.get("error", type(line.get("exc_info")).__name__)) for line in lines]


def test_job_comes_at_each_interval_after_failures_of_any_kind() -> None:
    work = Scripted(Unavailable("away"), ZeroDivisionError(), TimeoutError(), None)
    run_for(25.5, Job("work", 5.0), work)
    assert work.times == [5.0, 10.0, 15.0, 20.0, 25.0]


def test_turn_that_exceeds_its_limit_is_cancelled_and_logged_and_the_next_one_comes() -> None:
    began: list[float] = []
    ended: list[float] = []

    async def hang() -> None:
        loop = asyncio.get_running_loop()
        began.append(loop.time())
        try:
            await loop.create_future()
        finally:
            ended.append(loop.time())

    logged = run_for(45.0, Job("work", 5.0, limit_seconds=12.0), hang)
    assert (began, ended[:2]) == ([5.0, 22.0, 39.0], [17.0, 34.0])
    assert logged == [("job fails", "cancelled after 12 s")]


def test_default_limit_is_thirty_seconds() -> None:
    ended: list[float] = []

    async def hang() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(asyncio.get_running_loop().time())

    run_for(36.0, Job("work", 5.0), hang)
    assert ended == [35.0]


def test_failure_is_logged_once_for_each_change_of_its_reason() -> None:
    away, full = Unavailable("away"), Unavailable("no room")
    work = Scripted(away, away, full, full, None, full, ValueError("a"), ValueError("a"), ValueError("b"))
    assert run_for(60.0, Job("work", 1.0), work) == [
        ("job fails", "away"),
        ("job fails", "no room"),
        ("job fails", "no room"),  # it worked meanwhile
        ("job failed", "ValueError"),
        ("job failed", "ValueError"),
    ]


def test_timeout_of_the_work_itself_is_not_taken_for_the_limit() -> None:
    assert run_for(8.0, Job("work", 5.0), Scripted(TimeoutError("slow"))) == [("job fails", "TimeoutError('slow')")]


async def test_job_of_one_of_all_runs_in_its_turn_alone_and_a_turn_that_fails_is_logged() -> None:
    turns = [False, True, Unavailable("away"), True]
    asked: list[tuple[str, float]] = []

    async def take(name: str, every_seconds: float) -> bool:
        asked.append((name, every_seconds))
        turn = turns.pop(0)
        if isinstance(turn, Exception):
            raise turn
        return turn

    work = Scripted()
    runner = JobRunner(Job("purge", 5.0, Scope.ONE_OF_ALL), work, take_turn=take)
    with capture_logs() as lines:
        for count in (0, 1, 1, 2):
            await runner.run_once()
            assert len(work.times) == count
    assert asked == [("purge", 5.0)] * 4
    assert [(line["event"], line["error"]) for line in lines] == [("job fails", "away")]


def test_job_of_one_of_all_can_not_be_made_without_turns() -> None:
    with pytest.raises(ValueError, match="a job of one of all has turns"):
        JobRunner(Job("purge", 5.0, Scope.ONE_OF_ALL), Scripted())


async def test_bus_that_was_away_has_what_it_lost_looked_for_now() -> None:
    reconnections = Reconnections()
    turns: list[str] = []

    async def look(name: str) -> None:
        turns.append(name)

    sweep, versions = (Job(name, 3600, hurry=Hurry.BUS_IS_BACK) for name in ("sweep", "versions"))
    async with running(
        JobRunner(sweep, lambda: look("sweep"), hurried=reconnections.event()),
        JobRunner(versions, lambda: look("versions"), hurried=reconnections.event()),
    ):
        for times in (1, 2):
            reconnections.note()
            await wait_for(lambda: sorted(turns) == ["sweep"] * times + ["versions"] * times, what="a turn each")  # noqa: B023
