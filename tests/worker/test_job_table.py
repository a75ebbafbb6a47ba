"""The table of jobs: what holds for all rows, and that each row is bound to its work."""

import asyncio

import pytest

from service.worker.composition import background
from service.worker.job_table import JOBS
from service.worker.jobs import Hurry, Job, Scope
from tests.support.virtual_time import run_virtually


def test_names_are_unique_and_each_job_has_a_limit_that_leaves_room_for_a_batch() -> None:
    assert len({job.name for job in JOBS}) == len(JOBS)
    for job in JOBS:
        assert background._BUDGET_SECONDS < job.limit_seconds <= 60.0, job.name


def test_only_jobs_of_every_worker_are_hurried() -> None:
    assert {job.scope for job in JOBS if job.hurry is not None} == {Scope.EVERY_WORKER}


async def nothing() -> None:
    """Does nothing."""


@pytest.mark.parametrize("names", [["one"], ["one", "two", "three"], ["one", "other"]])
async def test_job_without_work_and_work_without_a_job_are_errors(names: list[str]) -> None:
    with pytest.raises(LookupError):
        background.start_jobs([Job("one", 1.0), Job("two", 1.0)], dict.fromkeys(names, nothing), {}, asyncio.sleep)


def test_each_job_is_started_with_its_work_its_turns_and_what_hurries_it() -> None:
    done: list[tuple[str, float]] = []
    bus_is_back = asyncio.Event()
    jobs = [
        Job("mine", 4.0),
        Job("ours", 5.0, Scope.ONE_OF_ALL),
        Job("theirs", 5.0, Scope.ONE_OF_ALL),
        Job("hurried", 60.0, hurry=Hurry.BUS_IS_BACK),
    ]

    async def take(name: str, _: float) -> bool:
        return name == "ours"

    async def watch() -> None:
        async def work(name: str) -> None:
            done.append((name, asyncio.get_running_loop().time()))

        works = {job.name: lambda name=job.name: work(name) for job in jobs}
        tasks = background.start_jobs(jobs, works, {Hurry.BUS_IS_BACK: lambda: bus_is_back}, take)
        assert [task.get_name() for task in tasks] == ["mine", "ours", "theirs", "hurried"]
        await asyncio.sleep(2.0)
        bus_is_back.set()
        await asyncio.sleep(4.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run_virtually(watch())
    assert done == [("hurried", 2.0), ("mine", 4.0), ("ours", 5.0)]
