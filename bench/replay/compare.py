"""What should be in a group's log, and how what was received differs from it. Pure.

`ordered_entries` gives the log that a plan must lead to; `accepted_entries` the one that follows from the seqs that
the sends were given. `compare_entries` holds one against what somebody received; `compare_ranges` holds the places of
the log that a member must have seen against those it saw.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.replay.names import HOST
from bench.replay.plan import Join, Leave, Plan, Say

MESSAGE, ADDED, REMOVED, UNKNOWN = "message", "added", "removed", "unknown"

Range = tuple[int, int]
"""First and last seq, both included."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a log, reduced to what is compared.

    Attributes:
        seq: its place.
        sender: who wrote it.
        what: MESSAGE, ADDED, REMOVED or UNKNOWN.
        text: of a message; of a change of members their names, sorted, with blanks between.
        style: of a message, the irc.Kind's value: message, action, notice.
    """

    seq: int
    sender: str
    what: str
    text: str
    style: str = ""


def ordered_entries(plan: Plan, initial_batches: Sequence[Sequence[str]] = ()) -> list[Entry]:
    """Returns the log that a plan leads to when each step waits for the one before.

    Args:
        plan: the file's.
        initial_batches: those of the initial members who did not fit into the creation and were added before the first
            step, as they were added.
    """
    entries = [Entry(0, HOST, ADDED, " ".join(sorted(batch))) for batch in initial_batches]
    for step in plan.steps:
        match step:
            case Say():
                entries.append(Entry(0, step.sender, MESSAGE, step.text, step.kind))
            case Join():
                entries.append(Entry(0, HOST, ADDED, step.username))
            case Leave():
                entries.append(Entry(0, step.actor, REMOVED, step.username))
    return [replace(entry, seq=seq) for seq, entry in enumerate(entries, start=1)]


def accepted_entries(says: Iterable[Say], accepted: Mapping[int, int], first_seq: int = 1) -> list[Entry]:
    """Returns the log that follows from the seqs which the sends were given.

    Args:
        says: what was sent.
        accepted: line number -> seq.
        first_seq: what the lowest must be.

    Raises:
        ValueError: a send has no seq, or the seqs are not dense from `first_seq`.
    """
    entries = []
    for say in says:
        if say.number not in accepted:
            raise ValueError(f"line {say.number} was not accepted")
        entries.append(Entry(accepted[say.number], say.sender, MESSAGE, say.text, say.kind))
    entries.sort(key=lambda entry: entry.seq)
    for seq, entry in enumerate(entries, start=first_seq):
        if entry.seq != seq:
            raise ValueError(f"the accepted seqs are not dense: {entry.seq} where {seq} was due")
    return entries


def list_overtakings(says: Iterable[Say], accepted: Mapping[int, int]) -> list[str]:
    """Returns where a sender's later line got a lower seq than an earlier one."""
    last: dict[str, Say] = {}
    found = []
    for say in says:
        before = last.get(say.sender)
        if before is not None and accepted[say.number] < accepted[before.number]:
            found.append(f"{say.sender}: line {say.number} got a seq below that of line {before.number}")
        last[say.sender] = say
    return found


def compare_entries(expected: Sequence[Entry], received: Sequence[Entry]) -> list[str]:
    """Returns what is wrong with what was received, one sentence a finding; empty when all is well.

    Args:
        expected: with rising seqs.
        received: in the order in which it came.
    """
    due = {entry.seq: entry for entry in expected}
    times = Counter(entry.seq for entry in received)
    found = [f"seq {seq} came {count} times" for seq, count in sorted(times.items()) if count > 1]
    found += [f"seq {seq} is missing: {_describe(entry)}" for seq, entry in due.items() if seq not in times]
    highest = 0
    for entry in received:
        if entry.seq < highest and times[entry.seq] == 1:
            found.append(f"seq {entry.seq} came after seq {highest}")
        highest = max(highest, entry.seq)
        if entry.seq not in due:
            found.append(f"seq {entry.seq} is not due: {_describe(entry)}")
        elif entry != due[entry.seq]:
            found.append(f"seq {entry.seq} should be {_describe(due[entry.seq])}, is {_describe(entry)}")
    return found


def member_ranges(entries: Sequence[Entry], initial: Iterable[str]) -> dict[str, list[Range]]:
    """Returns the places of a log that each of its members must see live.

    A member sees from the entry that added it (or from the start) to the entry that removed it (or the end).
    """
    last_seq = entries[-1].seq if entries else 0
    since = dict.fromkeys(initial, 1)
    ranges: dict[str, list[Range]] = {username: [] for username in since}
    for entry in entries:
        if entry.what == ADDED:
            for username in entry.text.split():
                ranges.setdefault(username, [])
                since[username] = entry.seq
        elif entry.what == REMOVED:
            for username in entry.text.split():
                ranges[username].append((since.pop(username), entry.seq))
    for username, seq in since.items():
        if seq <= last_seq:
            ranges[username].append((seq, last_seq))
    return ranges


def seqs_by_sender(entries: Iterable[Entry]) -> dict[str, list[int]]:
    """Returns the seqs of each sender's messages."""
    seqs: dict[str, list[int]] = {}
    for entry in entries:
        if entry.what == MESSAGE:
            seqs.setdefault(entry.sender, []).append(entry.seq)
    return seqs


def cut_to_stay(due: Iterable[Range], received: Sequence[Range], own_seqs: Sequence[int]) -> list[Range]:
    """Returns which of the places that a member may see somebody must have seen who was online for a while.

    That is all between the first and the last that it received, and between the first and the last of its own lines.
    """
    bounds = [*own_seqs, *(seq for each in received for seq in each)]
    if not bounds:
        return []
    low, high = min(bounds), max(bounds)
    return [(max(first, low), min(last, high)) for first, last in due if first <= high and last >= low]


def merge_ranges(ranges: Iterable[Range]) -> list[Range]:
    """Returns rising ranges with those joined that touch."""
    merged: list[Range] = []
    for first, last in ranges:
        if merged and merged[-1][1] + 1 == first:
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return merged


def compare_ranges(expected: Iterable[Range], received: Iterable[Range]) -> list[str]:
    """Returns one sentence when the places that were seen are not those that had to be."""
    due, seen = merge_ranges(expected), merge_ranges(received)
    return [] if due == seen else [f"should have received {_spell(due)}, received {_spell(seen)}"]


def _spell(ranges: Sequence[Range]) -> str:
    return ", ".join(f"{first}-{last}" for first, last in ranges) or "nothing"


def _describe(entry: Entry) -> str:
    return f"{entry.what} of {entry.sender} {entry.text[:60]!r}" + (f" ({entry.style})" if entry.style else "")
