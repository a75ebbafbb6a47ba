"""What a worker does again and again besides serving: one loop a job, each with its time limit and its way to fail.

A job that fails is logged and comes again at its next turn. What the database's absence breaks is expected and told
once, when it begins.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from storage.errors import Unavailable

_log = structlog.get_logger(__name__)

_LIMIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Job:
    """Something that is done every so often.

    Attributes:
        hurry: set when it should be done now.
    """

    name: str
    every_seconds: float
    run: Callable[[], Awaitable[object]]
    hurry: asyncio.Event | None = None


async def run_job(job: Job) -> None:
    """Runs a job until it is cancelled."""
    is_failing = False
    while True:
        await _rest(job)
        is_failing = await run_once(job, is_failing=is_failing)


async def run_once(job: Job, *, is_failing: bool = False) -> bool:
    """Runs a job now; says whether the database's absence broke it.

    Args:
        is_failing: that has been told already.
    """
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            await job.run()
    except (Unavailable, TimeoutError) as error:
        if not is_failing:
            _log.warning("job fails", job=job.name, error=str(error))
        return True
    except Exception:  # noqa: BLE001 # the others go on, and this one comes again
        _log.exception("job failed", job=job.name)
        return is_failing
    return False


async def _rest(job: Job) -> None:
    if job.hurry is None:
        await asyncio.sleep(job.every_seconds)
        return
    try:
        async with asyncio.timeout(job.every_seconds):
            await job.hurry.wait()
    except TimeoutError:
        pass  # the ordinary case
    job.hurry.clear()
