"""What a worker does again and again besides serving: one loop a job, with a time limit.

`job_table.py` lists the jobs. A job that fails, or that exceeds its limit and is cancelled, comes again at its next
turn; the log says so when the reason changes. The loops' clock is the event loop's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import structlog

from storage.errors import Unavailable

_log = structlog.get_logger(__name__)

TakeTurn: TypeAlias = Callable[[str, float], Awaitable[bool]]


class Scope(Enum):
    """Who does a job."""

    EVERY_WORKER = "every worker"  # the job is about the worker's own state
    ONE_OF_ALL = "one of all"  # the job is about what all workers share; one worker takes each turn (ADR 20)


class Hurry(Enum):
    """What makes a job run before its time."""

    BUS_IS_BACK = "the bus is back"
    UNKNOWN_WORKER = "an unknown worker is heard"
    UNKNOWN_KEY = "an unknown key signed a token"


@dataclass(frozen=True, slots=True)
class Job:
    """Work that is done every so often.

    Attributes:
        every_seconds: how long a worker waits between two turns.
        limit_seconds: how long a turn may take; then it is cancelled.
        hurry: what ends the wait early; only for jobs of every worker.
    """

    name: str
    every_seconds: float
    scope: Scope = Scope.EVERY_WORKER
    limit_seconds: float = 30.0
    hurry: Hurry | None = None


class JobRunner:
    """Runs one job on one worker.

    Args:
        work: one turn.
        take_turn: says whether a turn of a job (name, interval in seconds) is this worker's; for ONE_OF_ALL alone.
        hurried: set when the work should be done now.
    """

    def __init__(
        self,
        job: Job,
        work: Callable[[], Awaitable[object]],
        *,
        take_turn: TakeTurn | None = None,
        hurried: asyncio.Event | None = None,
    ) -> None:
        if (take_turn is not None) != (job.scope is Scope.ONE_OF_ALL):
            raise ValueError(f"{job.name}: a job of one of all has turns, and no other")
        self._job = job
        self._work = work
        self._take_turn = take_turn
        self._hurried = hurried
        self._reason = ""  # of the last failure, as it was logged; "" when the last turn was done

    async def run(self) -> None:
        """Waits and runs until it is cancelled."""
        while True:
            await self._rest()
            await self.run_once()

    async def run_once(self) -> None:
        """Runs the job now, if the turn is this worker's. Raises nothing but CancelledError."""
        try:
            async with asyncio.timeout(self._job.limit_seconds) as limit:
                if self._take_turn is not None and not await self._take_turn(self._job.name, self._job.every_seconds):
                    return
                await self._work()
        except TimeoutError as error:
            self._note(f"cancelled after {self._job.limit_seconds:g} s" if limit.expired() else repr(error))
        except Unavailable as error:
            self._note(str(error))
        except Exception as error:  # noqa: BLE001 # the others go on, and this one comes again
            self._note(repr(error), fault=error)
        else:
            self._reason = ""

    def _note(self, reason: str, *, fault: Exception | None = None) -> None:
        """Logs a failure whose reason is another one than that of the turn before."""
        if reason == self._reason:
            return
        self._reason = reason
        if fault is None:
            _log.warning("job fails", job=self._job.name, error=reason)
        else:
            _log.error("job failed", job=self._job.name, exc_info=fault)

    async def _rest(self) -> None:
        if self._hurried is None:
            await asyncio.sleep(self._job.every_seconds)
            return
        try:
            async with asyncio.timeout(self._job.every_seconds):
                await self._hurried.wait()
        except TimeoutError:
            pass  # the ordinary case
        self._hurried.clear()
