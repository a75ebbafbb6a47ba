"""A run: traffic, a fault in the middle of it, a quiet period, and what the checker says."""

import contextlib
import random
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.faults.bounds import Bound, Measured, first_answer, longest_way, wait_for_database
from tests.faults.checker import RULES, Case, Violation, check, key_of, receipts_whole
from tests.faults.consumer_rules import CONSUMER_RULES
from tests.faults.final_log import pull_seqs, read_log
from tests.faults.groups import end_groups, open_groups
from tests.faults.history import Op
from tests.faults.stage import Plan, Stage, open_stage
from tests.support.waiting import wait_for

_RECOVERY_SECONDS = 60.0
_BROKEN_SECONDS = 15.0
# Traffic before the first fault and after each recovery.
_MESSAGES_BETWEEN = 200
_RECEIPTS_SECONDS = 10.0
_LOSSES = ("acknowledged_is_kept", "delivered_whole", "handed_whole", "settled_whole")
# What is under way at any time: about as much as a client sends in half a second.
_CALM_MESSAGES = 30

# Does something to a stage; gives the moment from which recovery counts, or None for the moment of its return.
Action = Callable[[Stage], Awaitable[float | None]]


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a run: a row of the table.

    Attributes:
        lost: entries that were acknowledged and are not kept, and entries that a device never got.
        doubled: requests that took effect twice.
        recovery_seconds: after each fault, until every user's sends were acknowledged and every device received again
            in all of its conversations.
        silence_seconds: the longest time in which nobody had an answer.
        latest_seconds: the longest time from an answer until a device had the message.
        measured: how long something took that has a limit.
    """

    name: str
    seed: int
    acknowledged: int
    lost: int
    doubled: int
    recovery_seconds: tuple[float, ...]
    silence_seconds: float
    latest_seconds: float
    violations: tuple[Violation, ...]
    measured: tuple[Measured, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    history_file: str = ""

    @property
    def broken_rules(self) -> set[str]:
        """The rules that were not held."""
        return {violation.rule for violation in self.violations}

    def to_json(self) -> dict[str, Any]:
        """The row as data, for `table.py`."""
        return {
            "name": self.name,
            "acked": self.acknowledged,
            "lost": self.lost,
            "doubled": self.doubled,
            "recovery": statistics.median(self.recovery_seconds) if self.recovery_seconds else None,
            "silence": self.silence_seconds,
            "latest": self.latest_seconds,
            "broken": sorted(self.broken_rules),
            "notes": self.notes,
            "bounds": [
                {"what": one.bound.value.what, "limit": one.bound.value.limit_seconds, "seen": one.seconds}
                for one in self.measured
            ],
        }

    def __str__(self) -> str:
        recovery = f"{statistics.median(self.recovery_seconds):6.2f}" if self.recovery_seconds else "     -"
        notes = ", ".join(f"{name} {value}" for name, value in self.notes.items())
        return (
            f"{self.name:24} {self.acknowledged:>8} {self.lost:>5} {self.doubled:>8} {recovery:>9}"
            f" {self.silence_seconds:>8.2f} {self.latest_seconds:>7.2f}  {notes}"
        )


HEADING = f"{'fault':24} {'acked':>8} {'lost':>5} {'doubled':>8} {'recovery':>9} {'silence':>8} {'latest':>7}"
reports: list[Report] = []


async def run_under_load(
    name: str,
    plan: Plan,
    action: Action,
    *,
    seed: int,
    rounds: int = 1,
    bound: Bound | None = None,
    settle_seconds: float = 20.0,
    may_stay_broken: bool = False,
) -> Report:
    """Applies a fault in the middle of traffic, `rounds` times, and judges what came out; measures one bound.

    Args:
        may_stay_broken: that all is never well again ends the rounds, and it is for the checker to say why: for faults
            that are built in.
    """
    limit_seconds = _BROKEN_SECONDS if may_stay_broken else _RECOVERY_SECONDS
    async with open_stage(plan, random.Random(seed)) as stage:
        if plan.has_consumers:
            await open_groups(stage)
        stage.start_load()
        recoveries, moments = [], []
        await more(stage, _MESSAGES_BETWEEN, limit_seconds)
        with contextlib.suppress(*[AssertionError] * may_stay_broken):
            for _ in range(rounds):
                fault_time = stage.now()
                begin = await action(stage)
                begin = stage.now() if begin is None else begin
                if bound in (Bound.ANSWERED, Bound.ANSWERED_HUNG):
                    await wait_for_database(stage.database_url)
                return_time = stage.now()
                recoveries.append(await recover(stage, begin, limit_seconds))
                moments.append((fault_time, return_time, stage.now()))
                await more(stage, _MESSAGES_BETWEEN, limit_seconds)
        await stage.stop_load()
        await stage.settle(settle_seconds)
        if bound is not None:
            stage.measured += [_measure(stage, bound, *times) for times in moments]
        return await judge(name, stage, seed=seed, recovery_seconds=recoveries, settle_seconds=settle_seconds)


async def run_script(
    name: str, plan: Plan, script: Callable[[Stage], Awaitable[None]], *, seed: int, settle_seconds: float = 8.0
) -> Report:
    """Has a script do everything, without other traffic, and judges what came out."""
    async with open_stage(plan, random.Random(seed)) as stage:
        await script(stage)
        return await judge(name, stage, seed=seed, settle_seconds=settle_seconds)


async def judge(
    name: str, stage: Stage, *, seed: int, recovery_seconds: list[float] | None = None, settle_seconds: float = 20.0
) -> Report:
    """Waits for quiet, reads the log and has it checked; a history with violations is written to a file."""
    await stage.settle(settle_seconds)
    if stage.consumers:
        await end_groups(stage, settle_seconds=settle_seconds)
    log = [entry for entry in await read_log(stage.database_url) if entry.conversation_id in stage.members]
    case = Case(stage.scene, stage.history, log)
    with contextlib.suppress(AssertionError):  # they have no end that could be awaited; what is missing is found below
        await wait_for(lambda: not any(receipts_whole(case)), limit_seconds=_RECEIPTS_SECONDS, what="receipts")
    violations = check(stage.scene, stage.history, log, RULES | CONSUMER_RULES)
    for conversation_id, members in stage.members.items():
        person = next(person for person in stage.people if person.name in members)
        pulled = await pull_seqs(stage.find_target(), person, conversation_id)
        if pulled != [entry.seq for entry in log if entry.conversation_id == conversation_id]:
            violations.append(Violation("pulled_is_log", f"{conversation_id}: {len(pulled)} entries"))
    history_file = ""
    if violations:
        directory = Path(tempfile.mkdtemp(prefix="parley-history-"))
        history_file = str(directory / f"{name.replace(' ', '-')}.jsonl")
        stage.history.write(Path(history_file), log)
        for nth, server in enumerate(stage.servers):
            (directory / f"server{nth}.log").write_text(server.text)
    rules = [violation.rule for violation in violations]
    report = Report(
        name=name,
        seed=seed,
        acknowledged=stage.history.acknowledged_count,
        lost=sum(map(rules.count, _LOSSES)),
        doubled=rules.count("one_effect"),
        recovery_seconds=tuple(recovery_seconds or ()),
        silence_seconds=_longest_silence(stage),
        latest_seconds=longest_way(stage.history),
        violations=tuple(violations),
        measured=tuple(stage.measured),
        notes=dict(stage.notes),
        history_file=history_file,
    )
    reports.append(report)
    return report


def assert_held(report: Report) -> None:
    """Fails with the first violations of each rule."""
    shown = [
        str(violation)
        for rule in sorted(report.broken_rules)
        for violation in [found for found in report.violations if found.rule == rule][:3]
    ]
    assert not shown, f"seed {report.seed}, history {report.history_file}\n" + "\n".join(shown)
    assert report.acknowledged


async def recover(stage: Stage, begin: float, limit_seconds: float) -> float:
    """Waits until all is well again; gives how long that took after `begin`.

    All is well when each user had an answer to, and each device received in each of its conversations, something that
    was first sent after `begin`; whoever has that has everything before it. A consumer group is well when it was handed
    something of that in any of its conversations.
    """
    history = stage.history
    event_at, delivery_at, handing_at = 0, 0, 0
    fresh: set[tuple[str, str, str]] = set()
    senders = {client.username for client in stage.clients} & set().union(*stage.present.values())
    places = {
        (client.device, conversation_id)
        for conversation_id, present in stage.present.items()
        for client in stage.clients
        if client.username in present
    }
    groups = set(stage.groups)
    last_time = begin

    def is_well() -> bool:
        nonlocal event_at, delivery_at, handing_at, last_time
        for event in history.events[event_at:]:
            if event.op is Op.INVOKE and event.time >= begin:
                fresh.add(key_of(event))
            elif event.op is Op.OK and key_of(event) in fresh and event.sender in senders:
                senders.discard(event.sender)
                last_time = max(last_time, event.time)
        event_at = len(history.events)
        for delivery in history.deliveries[delivery_at:]:
            key = (delivery.conversation_id, delivery.sender, delivery.request_id)
            if key in fresh and (delivery.device, delivery.conversation_id) in places:
                places.discard((delivery.device, delivery.conversation_id))
                last_time = max(last_time, delivery.time)
        delivery_at = len(history.deliveries)
        for handing in history.handings[handing_at:]:
            if handing.group in groups and (handing.conversation_id, handing.sender, handing.request_id) in fresh:
                groups.discard(handing.group)
                last_time = max(last_time, handing.time)
        handing_at = len(history.handings)
        return not (senders or places or groups)

    await wait_for(is_well, limit_seconds=limit_seconds, what=f"recovery of {senders or places}")
    return last_time - begin


def _measure(stage: Stage, bound: Bound, fault_time: float, return_time: float, end_time: float) -> Measured:
    if bound in (Bound.ANSWERED, Bound.ANSWERED_HUNG):
        return Measured(bound, first_answer(stage.history, return_time))
    return Measured(bound, longest_way(stage.history, begin=fault_time, end=end_time))


async def more(stage: Stage, count: int, limit_seconds: float) -> None:
    """Waits until nobody is behind with anything, and then for so many answers."""
    await wait_for(lambda: _is_calm(stage), limit_seconds=limit_seconds, what="calm")
    goal = _answer_count(stage) + count
    await wait_for(lambda: _answer_count(stage) >= goal, limit_seconds=limit_seconds, what="traffic")


def _is_calm(stage: Stage) -> bool:
    """Whether no client has much to send, and every device has about all that any has: the load is never behind it."""
    ends: dict[str, int] = {}
    for client in stage.clients:
        for conversation_id, seq in client.last_seqs.items():
            ends[conversation_id] = max(seq, ends.get(conversation_id, 0))
    return all(client.waiting_count <= _CALM_MESSAGES for client in stage.clients) and all(
        client.last_seqs.get(conversation_id, 0) >= ends.get(conversation_id, 0) - _CALM_MESSAGES
        for conversation_id, present in stage.present.items()
        for client in stage.clients
        if client.username in present
    )


def _answer_count(stage: Stage) -> int:
    return sum(1 for event in stage.history.events if event.op is Op.OK)


def _longest_silence(stage: Stage) -> float:
    times = [event.time for event in stage.history.events if event.op is Op.OK]
    return max((after - before for before, after in pairwise(times)), default=0.0)
