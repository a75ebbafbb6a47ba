"""When an open loop sends."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.pacing import Alarm, Schedule
from bench.population import deal


def test_sends_are_evenly_spread_over_generators():
    schedules = [Schedule(1000, 1e9 / 100, place, 3) for place in range(3)]
    times = sorted(time for schedule in schedules for time in schedule.take_due(1000 + 800))
    assert times == [1000 + 100 * nth for nth in range(9)]


def test_what_is_late_keeps_the_time_at_which_it_was_meant():
    schedule = Schedule(0, 1e9 / 10, 0, 1)
    assert schedule.take_due(5) == [0]
    assert schedule.take_due(9) == []
    assert schedule.take_due(45) == [10, 20, 30, 40]
    assert schedule.next_ns() == 50


@given(st.floats(0.5, 100_000), st.integers(1, 5), st.integers(0, 3_000_000_000))
def test_rate_is_kept_whatever_the_steps(per_second: float, places: int, length_ns: int):
    taken = 0
    for place in range(places):
        schedule = Schedule(0, per_second, place, places)
        while taken < 1_000_000 and (due := schedule.next_ns()) <= length_ns:
            taken += len(schedule.take_due(due))
    assert taken == pytest.approx(per_second * length_ns / 1e9, abs=1.01)


async def test_alarm_never_rings_early():
    alarm = Alarm()
    try:
        for wait_ns in (0, 50_000, 1_300_000):
            due = time.monotonic_ns() + wait_ns
            await alarm.wait_until(due)
            assert time.monotonic_ns() >= due
    finally:
        alarm.close()
    assert asyncio.get_running_loop().is_running()


@pytest.mark.parametrize(("people", "each", "size"), [(30, 5, 10), (31, 2, 10), (2, 3, 2), (5, 1, 500)])
def test_everybody_is_in_as_many_groups(people: int, each: int, size: int):
    groups = deal(range(people), each, size)
    assert all(2 <= len(group) <= size + 1 for group in groups)
    assert all(len(set(group)) == len(group) for group in groups)
    assert [sum(one in group for group in groups) for one in range(people)] == [each] * people
