"""Jobs come again, whatever became of the last turn, and sooner when they are to hurry."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from service.worker.bus_dispatch import BusDispatcher
from service.worker.jobs import Job, run_job
from storage.errors import Unavailable
from tests.support.waiting import wait_for


@contextlib.asynccontextmanager
async def running(job: Job) -> AsyncIterator[None]:
    task = asyncio.create_task(run_job(job))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_job_comes_again_after_failures_of_any_kind():
    failures = [Unavailable("away"), ZeroDivisionError(), TimeoutError()]
    turns: list[int] = []

    async def work() -> None:
        turns.append(len(turns))
        if failures:
            raise failures.pop()

    async with running(Job("work", 0.001, work)):
        await wait_for(lambda: len(turns) >= 5, what="five turns")


async def test_bus_that_was_away_has_what_it_lost_looked_for_now():
    dispatcher = BusDispatcher()
    turns: list[str] = []

    async def look(name: str) -> None:
        turns.append(name)

    sweep = Job("sweep", 3600, lambda: look("sweep"), hurry=dispatcher.resync_event())
    versions = Job("versions", 3600, lambda: look("versions"), hurry=dispatcher.resync_event())
    async with running(sweep), running(versions):
        for times in (1, 2):
            dispatcher.reconnected()
            await wait_for(lambda: sorted(turns) == ["sweep"] * times + ["versions"] * times, what="a turn each")  # noqa: B023
