"""The faults that every `make check` goes through; `test_matrix.py` has all of them."""

import pytest

from tests.faults import actions
from tests.faults.run import assert_held, run_under_load
from tests.faults.stage import Plan


@pytest.mark.timeout(120)
async def test_worker_that_is_killed_costs_nothing(seed: int) -> None:
    assert_held(await run_under_load("worker kill", Plan(), actions.kill_worker, seed=seed))
