"""The checker finds known faults: each failpoint of the server, with the smallest fault that shows it, breaks its rule.

Where another part of the server would repair it, that part is off too, and the control shows that this alone is fine.
"""

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.faults import actions, quiet
from tests.faults.failpoints import FAILPOINTS
from tests.faults.run import Action, Report, assert_held, run_script, run_under_load
from tests.faults.stage import CONSUMERS, Plan, Stage

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(180)]


@dataclass(frozen=True, slots=True)
class Row:
    """A mutant that shows in a script: what is switched on, where, and which rule must find it.

    Attributes:
        control: with these alone all is held.
    """

    failpoints: str
    script: Callable[[Stage], Awaitable[None]]
    plan: Plan
    rule: str
    control: str = ""


# A kill falls where it may, and what is sent again may get the very seq that was told too early; and whether a frame
# overtakes the one before it is chance, too: hence several rounds.
UNDER_LOAD = [
    ("ack_before_commit", actions.kill_worker, 4, "acknowledged_is_kept"),
    ("publish_before_commit", actions.kill_worker, 4, "delivered_is_in_log"),
    ("no_gap_repair", actions.kill_redis, 1, "delivered_whole"),
    ("lanes_off", actions.do_nothing, 4, "order_of_streams"),
    ("window_ignored", actions.stop_reading_for_a_moment, 1, "window_is_kept"),
]
# With consumer groups. The places of what is held in vain are all taken at last: it is not waited for.
MANUAL = [
    ("deadlines_off", actions.kill_worker, "settled_whole"),
    ("attempts_forgotten", actions.do_nothing, "attempts_are_kept"),
    ("manual_acks_unwritten", actions.do_nothing, "acked_is_over"),
]
QUIET = [
    Row("no_sweep", quiet.lose_publication, replace(quiet.TWO_NODES, redis_proxy=True), "delivered_whole"),
    Row(
        "no_sweep,no_republish",
        quiet.lose_answer,
        replace(quiet.TWO_NODES, postgres_proxy=True),
        "delivered_whole",
        control="no_sweep",
    ),
    Row(
        "no_sweep,die_before_publish",
        quiet.die_with_last_words,
        quiet.TWO_NODES,
        "delivered_whole",
        control="die_before_publish",
    ),
    Row(
        "no_version_check,no_resubscribe_check",
        quiet.add_user_unheard,
        replace(quiet.A_NODE_EACH, redis_proxy=True),
        "delivered_whole",
        control="no_version_check",
    ),
    Row("no_dedupe", quiet.send_over_several_streams, quiet.TWO_NODES, "one_effect"),
    Row(
        "cursor_early",
        quiet.stop_reading_and_leave,
        Plan(users=2, conversations=1, client_proxy=True),
        "delivered_whole",
    ),
    Row(
        "dedupe_by_plain_read",
        quiet.lose_primary_after_its_standby,
        Plan(workers=1, users=1, devices=1, conversations=1, has_standby=True),
        "acknowledged_is_kept",
    ),
]


@pytest.mark.parametrize(("failpoint", "action", "rounds", "rule"), UNDER_LOAD, ids=[row[0] for row in UNDER_LOAD])
async def test_fault_that_is_built_in_is_found_under_load(
    failpoint: str, action: Action, rounds: int, rule: str, seed: int
) -> None:
    plan = Plan(failpoints=(failpoint,), lanes=2)
    report = await run_under_load(f"! {failpoint}", plan, action, seed=seed, rounds=rounds, may_stay_broken=True)
    assert_found(report, rule)


@pytest.mark.parametrize(("failpoint", "action", "rule"), MANUAL, ids=[row[0] for row in MANUAL])
async def test_fault_that_is_built_in_is_found_by_consumer_groups(
    failpoint: str, action: Action, rule: str, seed: int
) -> None:
    plan = replace(CONSUMERS, failpoints=(failpoint,))
    report = await run_under_load(f"! {failpoint}", plan, action, seed=seed, settle_seconds=4.0)
    assert_found(report, rule)


@pytest.mark.parametrize("row", QUIET, ids=[row.failpoints for row in QUIET])
async def test_fault_that_is_built_in_is_found_where_one_message_is_all(row: Row, seed: int) -> None:
    broken = replace(row.plan, failpoints=_split(row.failpoints))
    assert_found(await run_script(f"! {row.failpoints}", broken, row.script, seed=seed), row.rule)
    sound = replace(row.plan, failpoints=_split(row.control))
    name = f"= {row.control or row.script.__name__}"
    assert_held(await run_script(name, sound, row.script, seed=seed, settle_seconds=20))


def _split(failpoints: str) -> tuple[str, ...]:
    return tuple(name for name in failpoints.split(",") if name)


def assert_found(report: Report, rule: str) -> None:
    assert rule in report.broken_rules, f"found only {sorted(report.broken_rules)}; seed {report.seed}"
    shutil.rmtree(Path(report.history_file).parent)


def test_every_failpoint_has_a_row() -> None:
    named = {row[0] for row in (*UNDER_LOAD, *MANUAL)} | {name for row in QUIET for name in row.failpoints.split(",")}
    assert named == set(FAILPOINTS)
