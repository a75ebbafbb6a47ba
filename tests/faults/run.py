"""A run: traffic, a fault in the middle of it, a quiet period, and what the checker says."""

import contextlib
import random
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.faults.checker import Violation, check, key_of
from tests.faults.final_log import pull_seqs, read_log
from tests.faults.history import Op
from tests.faults.stage import Plan, Stage, open_stage
from tests.support.waiting import wait_for

_RECOVERY_SECONDS = 60.0
_BROKEN_SECONDS = 15.0
# Traffic before the first fault and after each recovery.
_MESSAGES_BETWEEN = 200
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
    notes: dict[str, str] = field(default_factory=dict)
    history_file: str = ""

    @property
    def broken_rules(self) -> set[str]:
        """The rules that were not held."""
        return {violation.rule for violation in self.violations}

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
    name: str, plan: Plan, action: Action, *, seed: int, rounds: int = 1, may_stay_broken: bool = False
) -> Report:
    """Applies a fault in the middle of traffic, `rounds` times, and judges what came out.

    Args:
        may_stay_broken: that all is never well again ends the rounds, and it is for the checker to say why: for faults
            that are built in.
    """
    limit_seconds = _BROKEN_SECONDS if may_stay_broken else _RECOVERY_SECONDS
    async with open_stage(plan, random.Random(seed)) as stage:
        stage.start_load()
        recoveries = []
        await _more(stage, _MESSAGES_BETWEEN, limit_seconds)
        with contextlib.suppress(*[AssertionError] * may_stay_broken):
            for _ in range(rounds):
                begin = await action(stage)
                recoveries.append(await recover(stage, stage.now() if begin is None else begin, limit_seconds))
                await _more(stage, _MESSAGES_BETWEEN, limit_seconds)
        await stage.stop_load()
        return await judge(name, stage, seed=seed, recovery_seconds=recoveries)


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
    log = await read_log(stage.database_url)
    violations = check(stage.scene, stage.history, log)
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
        lost=rules.count("acknowledged_is_kept") + rules.count("delivered_whole"),
        doubled=rules.count("one_effect"),
        recovery_seconds=tuple(recovery_seconds or ()),
        silence_seconds=_longest_silence(stage),
        latest_seconds=_longest_way(stage),
        violations=tuple(violations),
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
    was first sent after `begin`; whoever has that has everything before it.
    """
    history = stage.history
    event_at, delivery_at = 0, 0
    fresh: set[tuple[str, str, str]] = set()
    senders = {client.username for client in stage.clients}
    places = {
        (client.device, conversation_id)
        for conversation_id, present in stage.present.items()
        for client in stage.clients
        if client.username in present
    }
    last_time = begin

    def is_well() -> bool:
        nonlocal event_at, delivery_at, last_time
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
        return not senders and not places

    await wait_for(is_well, limit_seconds=limit_seconds, what=f"recovery of {senders or places}")
    return last_time - begin


async def _more(stage: Stage, count: int, limit_seconds: float) -> None:
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


def _longest_way(stage: Stage) -> float:
    answered: dict[tuple[str, int], float] = {}
    for event in stage.history.events:
        if event.op is Op.OK:
            answered.setdefault((event.conversation_id, event.seq), event.time)
    arrived: set[tuple[str, str, int]] = set()
    longest = 0.0
    for delivery in stage.history.deliveries:
        place = (delivery.device, delivery.conversation_id, delivery.seq)
        if place not in arrived:
            arrived.add(place)
            longest = max(longest, delivery.time - answered.get(place[1:], delivery.time))
    return longest
