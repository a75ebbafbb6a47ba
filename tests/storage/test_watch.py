"""Whether the database is away, with a probe that the test answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from storage.errors import Unavailable
from storage.postgres.connections.outage import Watch
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
async def watch(probe: Probe) -> AsyncIterator[Watch]:
    watch = Watch(probe)
    running = asyncio.create_task(watch.run())
    yield watch
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_who_waits_goes_on_when_it_is_back(watch: Watch, probe: Probe) -> None:
    watch.suspect()
    probe.answer(False)
    await wait_for(lambda: watch.is_away, what="away")
    waiting = asyncio.create_task(watch.pause(60))
    probe.answer(True)
    await waiting
    assert not watch.is_away


async def test_who_waits_waits_also_where_it_was_back_for_a_moment(watch: Watch, probe: Probe) -> None:
    """A pause that ends at once makes a loop of attempts that never yields: the worker stood still for ten seconds."""
    watch.suspect()
    await wait_for(lambda: probe.count == 1, what="the probe")
    watch.suspect()  # of another connection, while the probe is under way
    probe.answer(True)
    probe.answer(False)
    await wait_for(lambda: watch.is_away, what="away")
    waiting = asyncio.create_task(watch.pause(60))
    await wait_for(lambda: probe.count == 3, what="the next probe")
    assert not waiting.done()
    probe.answer(True)
    await waiting
