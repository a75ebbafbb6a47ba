"""Every fault, under load, several times a run: `make faults`. The short ones that are part of `make check` are in
`test_selection.py`.
"""

from dataclasses import dataclass
from functools import partial

import pytest

from tests.faults import actions, crowd, slow_reader
from tests.faults.run import Action, assert_held, run_script, run_under_load
from tests.faults.stage import Plan

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(300)]


_PLAIN = Plan()
_TWO_NODES = Plan(workers=1, nodes=2)
_REDIS = Plan(redis_proxy=True)
_POSTGRES = Plan(postgres_proxy=True)
_CLIENTS = Plan(client_proxy=True)
_STANDBY = Plan(has_standby=True)
_SMALL_DISK = Plan(disk_bytes=400 * 1024 * 1024)


@dataclass(frozen=True, slots=True)
class Row:
    """A fault and where it happens.

    Attributes:
        rounds: how often it is applied in a run; recovery is the median.
    """

    name: str
    action: Action
    plan: Plan = _PLAIN
    rounds: int = 3


MATRIX = [
    Row("worker kill -9", actions.kill_worker),
    Row("worker SIGSTOP", actions.freeze_worker, rounds=1),
    Row("rolling restart", actions.roll_workers, rounds=1),
    Row("node kill -9, of two", actions.kill_node, _TWO_NODES),
    Row("all kill -9, then start", actions.kill_everything),
    Row("redis kill -9", actions.kill_redis),
    Row("redis SIGSTOP 10 s", actions.freeze_redis, rounds=1),
    Row("redis cut 3 s", actions.cut_redis, _REDIS),
    Row("redis half-open 5 s", actions.half_open_redis, _REDIS),
    Row("redis loses PUBLISH", actions.lose_publications, _REDIS),
    Row("redis kills pubsub", actions.kill_subscribers),
    Row("redis out of memory 4 s", actions.fill_redis),
    Row("postgres kill -9", actions.kill_postgres),
    Row("postgres SIGSTOP 8 s", actions.freeze_postgres, rounds=1),
    Row("postgres resets", actions.drop_postgres, _POSTGRES),
    Row("postgres answers lost", actions.swallow_answers, _POSTGRES),
    Row("postgres connections gone", actions.use_up_connections),
    Row("postgres table locked 5 s", actions.lock_table),
    Row("postgres disk full 4 s", actions.fill_disk, _SMALL_DISK, rounds=1),
    Row("postgres WAL full 4 s", actions.fill_wal, _SMALL_DISK, rounds=1),
    Row("postgres failover", actions.fail_over, _STANDBY, rounds=1),
    Row("failover, old one back", actions.fail_over_with_return, _STANDBY, rounds=1),
    Row("all three kill -9", actions.kill_several),
    Row("clients cut mid-frame", actions.cut_clients, _CLIENTS),
    Row("clients stalled 6 s", actions.stall_clients, _CLIENTS, rounds=1),
    Row("members come and go", actions.change_members),
]


@pytest.mark.parametrize("row", MATRIX, ids=[row.name for row in MATRIX])
async def test_fault_costs_nothing_that_was_acknowledged(row: Row, seed: int) -> None:
    assert_held(await run_under_load(row.name, row.plan, row.action, seed=seed, rounds=row.rounds))


@pytest.mark.timeout(600)  # ten times half a minute, and catching up
async def test_reader_that_stops_for_half_a_minute_disturbs_nobody_and_gets_everything(seed: int) -> None:
    script = partial(slow_reader.stop_reading, pairs=5, stop_seconds=30.0)
    assert_held(await run_script("slow reader 30 s", slow_reader.CROWDED, script, seed=seed))


async def test_streams_of_a_dead_node_find_another(seed: int) -> None:
    assert_held(await run_script("1,000 streams move", crowd.PLAN, crowd.move, seed=seed))
