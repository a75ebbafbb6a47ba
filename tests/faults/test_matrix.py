"""Every fault, under load, several times a run: `make faults`. The short ones that are part of `make check` are in
`test_selection.py`.
"""

from dataclasses import dataclass, replace
from functools import partial

import pytest

from tests.faults import actions, crowd, presence, quiet, slow_reader
from tests.faults.bounds import Bound
from tests.faults.run import Action, assert_held, run_script, run_under_load
from tests.faults.stage import CONSUMERS, Plan

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(300)]


_PLAIN = Plan()
_TWO_NODES = Plan(workers=1, nodes=2)
_REDIS = Plan(redis_proxy=True)
_POSTGRES = Plan(postgres_proxy=True)
_CLIENTS = Plan(client_proxy=True)
_SMALL_DISK = Plan(disk_bytes=400 * 1024 * 1024)
_STANDBY = Plan(has_standby=True)


@dataclass(frozen=True, slots=True)
class Row:
    """A fault and where it happens.

    Attributes:
        rounds: how often it is applied in a run; recovery is the median.
        bound: what is measured each time, besides.
    """

    name: str
    action: Action
    plan: Plan = _PLAIN
    rounds: int = 3
    bound: Bound | None = None


MATRIX = [
    Row("worker kill -9", actions.kill_worker),
    Row("worker SIGSTOP", actions.freeze_worker, rounds=1),
    Row("rolling restart", actions.roll_workers, rounds=1),
    Row("node kill -9, of two", actions.kill_node, _TWO_NODES),
    Row("all kill -9, then start", actions.kill_everything),
    Row("redis kill -9", actions.kill_redis, bound=Bound.REPAIRED_AWAY),
    Row("redis SIGSTOP 10 s", actions.freeze_redis, rounds=1, bound=Bound.REPAIRED_AWAY),
    Row("redis cut 3 s", actions.cut_redis, _REDIS, bound=Bound.REPAIRED_AWAY),
    Row("redis half-open 5 s", actions.half_open_redis, _REDIS, bound=Bound.REPAIRED_AWAY),
    Row("redis loses PUBLISH", actions.lose_publications, _REDIS, bound=Bound.REPAIRED),
    Row("redis kills pubsub", actions.kill_subscribers, bound=Bound.REPAIRED),
    Row("redis out of memory 4 s", actions.fill_redis, bound=Bound.REPAIRED),
    Row("postgres kill -9", actions.kill_postgres, bound=Bound.ANSWERED),
    Row("postgres SIGSTOP 8 s", actions.freeze_postgres, rounds=1, bound=Bound.ANSWERED_HUNG),
    Row("postgres resets", actions.drop_postgres, _POSTGRES, bound=Bound.ANSWERED),
    Row("postgres answers lost", actions.swallow_answers, _POSTGRES, bound=Bound.ANSWERED),
    Row("postgres connections gone", actions.use_up_connections, bound=Bound.ANSWERED),
    Row("postgres table locked 5 s", actions.lock_table),
    Row("postgres disk full 4 s", actions.fill_disk, _SMALL_DISK, rounds=1, bound=Bound.ANSWERED),
    Row("postgres WAL full 4 s", actions.fill_wal, _SMALL_DISK, rounds=1, bound=Bound.ANSWERED),
    Row("postgres failover", actions.fail_over, _STANDBY, rounds=1, bound=Bound.ANSWERED),
    Row("failover, old one back", actions.fail_over_with_return, _STANDBY, rounds=1, bound=Bound.ANSWERED),
    Row("all three kill -9", actions.kill_several),
    Row("clients cut mid-frame", actions.cut_clients, _CLIENTS),
    Row("clients stalled 6 s", actions.stall_clients, _CLIENTS, rounds=1),
    Row("members come and go", actions.change_members),
    Row("manual acks: worker kill -9", actions.kill_worker, CONSUMERS, rounds=2),
    Row("manual acks: worker SIGSTOP", actions.freeze_worker, CONSUMERS, rounds=1),
    Row("manual acks: redis kill -9", actions.kill_redis, CONSUMERS, rounds=2),
    Row("manual acks: postgres kill -9", actions.kill_postgres, CONSUMERS, rounds=2),
    Row("manual acks: failover", actions.fail_over, replace(CONSUMERS, has_standby=True), rounds=1),
    Row("manual acks: clients cut", actions.cut_clients, replace(CONSUMERS, client_proxy=True), rounds=2),
]


@pytest.mark.parametrize("row", MATRIX, ids=[row.name for row in MATRIX])
async def test_fault_costs_nothing_that_was_acknowledged(row: Row, seed: int) -> None:
    assert_held(await run_under_load(row.name, row.plan, row.action, seed=seed, rounds=row.rounds, bound=row.bound))


@pytest.mark.timeout(600)  # ten times half a minute, and catching up
async def test_reader_that_stops_for_half_a_minute_disturbs_nobody_and_gets_everything(seed: int) -> None:
    script = partial(slow_reader.stop_reading, pairs=5, stop_seconds=30.0)
    assert_held(await run_script("slow reader 30 s", slow_reader.CROWDED, script, seed=seed))


async def test_streams_of_a_dead_node_find_another(seed: int) -> None:
    assert_held(await run_script("1,000 streams move", crowd.PLAN, crowd.move, seed=seed))


async def test_last_words_of_a_worker_reach_the_others(seed: int) -> None:
    plan = replace(quiet.TWO_NODES, failpoints=("die_before_publish",))
    assert_held(await run_script("worker's last words", plan, quiet.time_last_words, seed=seed))


async def test_presence_is_unknown_without_redis_and_right_when_it_is_back(seed: int) -> None:
    assert_held(await run_script("presence without redis", presence.PLAN, presence.lose_redis, seed=seed))


async def test_presence_is_right_while_redis_is_out_of_memory(seed: int) -> None:
    assert_held(await run_script("presence, out of memory", presence.PLAN, presence.fill_redis, seed=seed))
