"""Holds what a replay left against the files: what each device received, what Pull gives, what was accepted."""

from dataclasses import dataclass

from bench.replay import compare
from bench.replay.compare import Entry, Range
from bench.replay.entries import to_entry
from bench.replay.names import LISTENER
from bench.replay.plan import Say
from bench.replay.stage import Group, Stage
from bench.replay.stream import DeviceStream
from bench.replay.tally import Tally

_FORWARD_LIMIT, _REVERSE_LIMIT = 500, 137
"""Two limits that put the pages' borders in different places."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be: in which file, where it was seen, and what."""

    title: str
    source: str
    what: str


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a group's log must be, and which places of it each member must have seen live."""

    group: Group
    entries: list[Entry]
    ranges: dict[str, list[Range]]
    findings: list[Finding]


def expect(group: Group, *, unordered: bool) -> Expectation:
    """Returns what must be in a group after its file was played."""
    says = [step for step in group.plan.steps if isinstance(step, Say)]
    entries = compare.ordered_entries(group.plan, group.initial_batches)
    try:
        if unordered:
            before = entries[: len(group.initial_batches)]
            entries = before + compare.accepted_entries(says, group.accepted, first_seq=len(before) + 1)
            steady = [say for say in says if say.sender not in group.retried_senders]
            wrong = compare.list_overtakings(steady, group.accepted)
        else:
            wrong = _list_misplaced(entries, says, group)
    except ValueError as error:
        entries, wrong = [], [str(error)]
    findings = [Finding(group.plan.title, "answers", what) for what in wrong]
    added_later = {name for batch in group.initial_batches for name in batch}
    initial = [LISTENER, *(name for name in group.plan.initial if name not in added_later)]
    return Expectation(group, entries, compare.member_ranges(entries, initial), findings)


def _list_misplaced(entries: list[Entry], says: list[Say], group: Group) -> list[str]:
    """Returns which lines were accepted at another place than theirs."""
    places = [entry.seq for entry in entries if entry.what == compare.MESSAGE]
    return [
        f"line {say.number} was accepted as seq {group.accepted.get(say.number)}, not {seq}"
        for say, seq in zip(says, places, strict=True)
        if group.accepted.get(say.number) != seq
    ]


def list_due(stage: Stage, expectations: list[Expectation]) -> list[tuple[DeviceStream, str, int]]:
    """Returns for each stream and conversation the last seq that must come."""
    due = []
    for expectation in expectations:
        conversation_id = expectation.group.conversation_id
        for name, ranges in expectation.ranges.items():
            speakers = stage.speakers
            streams = [speakers.streams[name]] if speakers.stay and name in speakers.streams else []
            if name == LISTENER:
                streams = [listener.stream for listener in stage.listeners]
            if ranges:
                due += [(stream, conversation_id, ranges[-1][1]) for stream in streams]
    return due


async def judge(stage: Stage, expectations: list[Expectation]) -> list[Finding]:
    """Returns all that is wrong; empty when everything is as it should be."""
    findings: list[Finding] = []
    for expectation in expectations:
        findings += expectation.findings
        findings += await _judge_pull(stage, expectation)
        findings += _judge_listeners(stage, expectation)
        findings += _judge_speakers(stage, expectation)
    streams = {
        **stage.speakers.streams,
        **{f"device {n}": device.stream for n, device in enumerate(stage.listeners, start=1)},
    }
    for name, stream in streams.items():
        findings += [Finding("all", name, f"the server refused a frame: {text}") for text in stream.error_messages]
    return findings


async def _judge_pull(stage: Stage, expectation: Expectation) -> list[Finding]:
    group = expectation.group
    forward = [to_entry(m) for m in await stage.calls.pull(group.conversation_id, _FORWARD_LIMIT, reverse=False)]
    reverse = [to_entry(m) for m in await stage.calls.pull(group.conversation_id, _REVERSE_LIMIT, reverse=True)]
    return [
        Finding(group.plan.title, source, what)
        for source, entries in (("Pull", forward), ("Pull in reverse", reverse[::-1]))
        for what in compare.compare_entries(expectation.entries, entries)
    ]


def _judge_listeners(stage: Stage, expectation: Expectation) -> list[Finding]:
    group = expectation.group
    findings = []
    for number, listener in enumerate(stage.listeners, start=1):
        source = f"listener {number}"
        received = listener.entries.get(group.conversation_id, [])
        tally = listener.stream.tallies.get(group.conversation_id, Tally())
        wrong = compare.compare_entries(expectation.entries, received) + tally.faults
        findings += [Finding(group.plan.title, source, what) for what in wrong]
    return findings


def _judge_speakers(stage: Stage, expectation: Expectation) -> list[Finding]:
    group = expectation.group
    lines = compare.seqs_by_sender(expectation.entries)
    findings = []
    for name in group.plan.speakers:
        tally = stage.speakers.streams[name].tallies.get(group.conversation_id, Tally())
        due = expectation.ranges.get(name, [])
        if not stage.speakers.stay:
            due = compare.cut_to_stay(due, tally.ranges, lines.get(name, []))
        wrong = compare.compare_ranges(due, tally.ranges) + tally.faults
        findings += [Finding(group.plan.title, f"speaker {name}", what) for what in wrong]
    return findings
