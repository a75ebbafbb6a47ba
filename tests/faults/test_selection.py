"""The faults that every `make check` goes through; `test_matrix.py` has all of them."""

from functools import partial

import pytest

from tests.faults import actions, quiet, slow_reader
from tests.faults.run import assert_held, run_script, run_under_load
from tests.faults.stage import Plan

pytestmark = pytest.mark.timeout(120)


async def test_worker_that_is_killed_costs_nothing(seed: int) -> None:
    assert_held(await run_under_load("worker kill -9", Plan(), actions.kill_worker, seed=seed))


async def test_redis_that_is_killed_costs_nothing(seed: int) -> None:
    assert_held(await run_under_load("redis kill -9", Plan(), actions.kill_redis, seed=seed))


async def test_primary_that_is_killed_for_its_standby_costs_nothing(seed: int) -> None:
    assert_held(await run_under_load("postgres failover", Plan(has_standby=True), actions.fail_over, seed=seed))


async def test_reader_that_stops_gets_everything(seed: int) -> None:
    script = partial(slow_reader.stop_reading, pairs=1, stop_seconds=3.0)
    assert_held(await run_script("slow reader 3 s", slow_reader.PLAN, script, seed=seed))


async def test_same_requests_over_streams_of_two_nodes_take_effect_once(seed: int) -> None:
    report = await run_script("duplicate storm", quiet.TWO_NODES, quiet.send_over_several_streams, seed=seed)
    assert_held(report)
    assert report.acknowledged == quiet.STORM_COUNT
