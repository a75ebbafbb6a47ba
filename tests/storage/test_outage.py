"""Whether the database is away, with a probe that the test answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from storage.errors import Unavailable
from storage.postgres.connections.outage import Outage
from tests.support.waiting import wait_for


class Probe:
    """A probe that waits until the test says what it finds."""

    def __init__(self) -> None:
        self.count = 0
        self._answers: asyncio.Queue[bool] = asyncio.Queue()

    async def __call__(self) -> None:
        self.count += 1
        if not await self._answers.get():
            raise Unavailable("nobody there")

    def answer(self, is_there: bool) -> None:
        self._answers.put_nowait(is_there)


@pytest.fixture
def probe() -> Probe:
    return Probe()


@pytest.fixture
async def outage(probe: Probe) -> AsyncIterator[Outage]:
    outage = Outage(probe)
    running = asyncio.create_task(outage.run())
    yield outage
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_who_waits_goes_on_when_it_is_back(outage: Outage, probe: Probe) -> None:
    outage.suspect()
    probe.answer(False)
    await wait_for(lambda: outage.is_away, what="away")
    waiting = asyncio.create_task(outage.pause(60))
    probe.answer(True)
    await waiting
    assert not outage.is_away


async def test_who_waits_waits_also_where_it_was_back_for_a_moment(outage: Outage, probe: Probe) -> None:
    """A pause that ends at once makes a loop of attempts that never yields: the worker stood still for ten seconds."""
    outage.suspect()
    await wait_for(lambda: probe.count == 1, what="the probe")
    outage.suspect()  # of another connection, while the probe is under way
    probe.answer(True)
    probe.answer(False)
    await wait_for(lambda: outage.is_away, what="away")
    waiting = asyncio.create_task(outage.pause(60))
    await wait_for(lambda: probe.count == 3, what="the next probe")
    assert not waiting.done()
    probe.answer(True)
    await waiting
