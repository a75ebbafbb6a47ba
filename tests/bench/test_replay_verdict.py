"""The verdict on a real run: nothing is found, and whatever is damaged afterwards is."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from bench import accounts
from bench.replay import irc, names, plan, runner, verdict
from bench.replay.stage import Stage, open_stage
from bench.replay.verdict import Expectation, Finding

LOG = """\
[10:00] <ada> one
[10:00] <bob> two
=== cyd  has joined #room
[10:01] <cyd> three
=== ada is now known as ada-away
[10:01] <bob> four
"""


@pytest.fixture(scope="module")
async def played(server: Any) -> AsyncIterator[tuple[Stage, list[Expectation]]]:
    """A replay that is over, with its streams still open."""
    log = irc.parse_log(LOG)
    played_plan = plan.make_plan("room", log, names.make_names(plan.nicknames_of(log)))
    users = sorted(played_plan.usernames | {names.HOST, names.LISTENER})
    environment = {"PARLEY_DATA_DIR": str(server.data_dir)}
    await accounts.create_users(users, environment)
    tokens = await accounts.mint_tokens(users, environment)
    timings = runner.Timings()
    async with open_stage(
        server.target,
        tokens,
        [played_plan],
        device_count=1,
        reconnect_every=0,
        speakers_stay=True,
        on_arrival=timings.note_arrival,
    ) as stage:
        await runner.Runner(stage, runner.Pace(), timings, lambda: None).play()
        expectations = [verdict.expect(group, unordered=False) for group in stage.groups]
        await runner.wait_for_arrival(verdict.list_due(stage, expectations))
        assert len(timings.delays) == 4
        yield stage, expectations


def lose_entry(stage: Stage, expectation: Expectation) -> None:
    del stage.listeners[0].entries[expectation.group.conversation_id][1]


def double_entry(stage: Stage, expectation: Expectation) -> None:
    entries = stage.listeners[0].entries[expectation.group.conversation_id]
    entries.append(entries[-1])


def swap_entries(stage: Stage, expectation: Expectation) -> None:
    entries = stage.listeners[0].entries[expectation.group.conversation_id]
    entries[0], entries[1] = entries[1], entries[0]


def change_file(stage: Stage, expectation: Expectation) -> None:
    expectation.entries[0] = replace(expectation.entries[0], text="other")


def lose_range(stage: Stage, expectation: Expectation) -> None:
    stage.speakers.streams["bob"].tallies[expectation.group.conversation_id].ranges.pop()


def note_fault(stage: Stage, expectation: Expectation) -> None:
    stage.speakers.streams["cyd"].tallies[expectation.group.conversation_id].add(1)


def note_refused_frame(stage: Stage, expectation: Expectation) -> None:
    stage.speakers.streams["cyd"].error_messages.append("no")


DAMAGES: list[tuple[Callable[[Stage, Expectation], None], set[str]]] = [
    (lose_entry, {"listener 1"}),
    (double_entry, {"listener 1"}),
    (swap_entries, {"listener 1"}),
    (change_file, {"Pull", "Pull in reverse", "listener 1"}),
    (lose_range, {"speaker bob"}),
    (note_fault, {"speaker cyd"}),
    (note_refused_frame, {"cyd"}),
]


async def find(played: tuple[Stage, list[Expectation]]) -> list[Finding]:
    return await verdict.judge(*played)


async def test_run_is_without_findings_until_something_is_damaged(played: tuple[Stage, list[Expectation]]) -> None:
    assert await find(played) == []
    stage, (expectation,) = played
    seen: set[Finding] = set()
    for damage, sources in DAMAGES:
        damage(stage, expectation)
        findings = set(await find(played))
        assert {finding.source for finding in findings - seen} == sources, damage.__name__
        seen |= findings
