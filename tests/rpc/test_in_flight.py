"""How many unary calls are served at once."""

import asyncio

import pytest

from service.domain.errors import Overloaded
from service.rpc.in_flight import InFlight
from tests.support.waiting import wait_for


def test_call_beyond_the_limit_is_refused_until_one_ends():
    in_flight = InFlight(2)
    with in_flight:
        with in_flight, pytest.raises(Overloaded), in_flight:
            pass
        assert in_flight.count == 1
        with in_flight:
            assert in_flight.count == 2
    assert in_flight.count == 0


async def test_calls_that_begin_while_they_are_held_go_on_at_the_release():
    in_flight, ended = InFlight(10), []

    async def call(name: int) -> None:
        with in_flight:
            if in_flight.is_held:
                await in_flight.wait()
            ended.append(name)

    await call(1)
    await in_flight.hold(quiet_seconds=0, limit_seconds=10)
    calls = [asyncio.create_task(call(name)) for name in (2, 3)]
    await wait_for(lambda: in_flight.count == 2, what="both")
    assert ended == [1]
    in_flight.release()
    await asyncio.gather(*calls, call(4))
    assert sorted(ended) == [1, 2, 3, 4]


async def test_calls_that_never_cease_are_not_waited_for():
    in_flight, is_over = InFlight(100_000), False

    async def begin_others() -> None:
        while not is_over:
            with in_flight:
                await asyncio.sleep(0)

    others = asyncio.create_task(begin_others())
    await asyncio.wait_for(in_flight.hold(quiet_seconds=0.001, limit_seconds=0.05), 10)
    is_over = True
    await others
    assert in_flight.begun_count > 2
