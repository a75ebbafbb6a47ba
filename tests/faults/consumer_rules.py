"""What docs/manual-acks.md promises, held against a history: rules as those of `checker.py`, about consumer groups.

A run's times are those of its clients. What the server decides on its own clock (a deadline, a stream's end that it saw
first) gets a second's grace: so much may a message be on its way.
"""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from tests.faults.checker import Case, Rule
from tests.faults.history import Entry, Handing, Letter, Settling, StreamEnd, Unsettled, Verdict

# (group, conversation, seq)
Place = tuple[str, str, int]

_GRACE_SECONDS = 1.0
_REASONS_OF_THE_SERVER = ("The ack deadline passed.", "The stream broke off.")


def handed_is_in_log(case: Case) -> Iterator[str]:
    """What a group was given is what the log has at that seq, and its user may see it."""
    for handing in case.history.handings:
        entry = case.entries.get((handing.conversation_id, handing.seq))
        visible = case.visible[handing.conversation_id, case.scene.groups[handing.group].username]
        at = bisect_left(visible, handing.seq)
        if not _is_same(handing, entry) or visible[at : at + 1] != [handing.seq]:
            yield f"{_show(handing)} is {handing.request_id}; there is {entry}"


def handed_whole(case: Case) -> Iterator[str]:
    """Each group was given everything that its user may see."""
    handed = {_place(handing) for handing in case.history.handings}
    for place in _places(case):
        if place not in handed:
            yield f"{place} never came"


def settled_whole(case: Case) -> Iterator[str]:
    """Everything ends acked by its group, or as a dead letter, and nothing is left unsettled."""
    settled = {_place(word) for word in case.history.settlings if word.verdict is not Verdict.NACK}
    settled |= {_place(letter) for letter in case.history.letters}
    for place in _places(case):
        if place not in settled:
            yield f"{place} was neither acked nor is it a dead letter"
    for unsettled in case.history.unsettled:
        yield f"{_place(unsettled)} is unsettled in the end"


def held_by_one(case: Case) -> Iterator[str]:
    """What a stream holds comes to nobody, until its deadline has passed, the stream is over, or it nacked."""
    words: dict[tuple[int, Place], list[Settling]] = defaultdict(list)
    for word in case.history.settlings:
        words[word.stream, _place(word)].append(word)
    ends = _ends(case)
    for place, handings in _by_place(case).items():
        deadline_seconds = case.scene.groups[place[0]].deadline_seconds - _GRACE_SECONDS
        for before, after in pairwise(handings):
            nacks = [word.time for word in words[before.stream, place] if word.verdict is Verdict.NACK]
            end = ends.get(before.stream)
            is_given_up = (
                after.time >= before.time + deadline_seconds
                or any(before.time <= time <= after.time for time in nacks)
                or (end is not None and end.time <= after.time + _GRACE_SECONDS)
                or before.time <= case.history.redrive_time <= after.time
            )
            if not is_given_up:
                yield f"{_show(before)}, and after {after.time - before.time:.2f} s {_show(after)}"


def attempts_are_kept(case: Case) -> Iterator[str]:
    """Each time a message comes its attempt is a higher one, from 1 up to the most there are, over any restart.

    It may be the same where the stream before was half-closed or ended by the server, and begins anew when redriven.
    """
    ends = _ends(case)
    for place, handings in _by_place(case).items():
        for handing in handings:
            if not 1 <= handing.attempt <= case.scene.groups[place[0]].max_attempts:
                yield f"{_show(handing)}: there is no such attempt"
        for before, after in pairwise(handings):
            end = ends.get(before.stream)
            may_repeat = end is not None and not end.may_count and end.time <= after.time + _GRACE_SECONDS
            is_redriven = before.time <= case.history.redrive_time <= after.time
            if after.attempt < before.attempt + (not may_repeat) and not is_redriven:
                yield f"{_show(before)}, then {_show(after)}"


def acked_is_over(case: Case) -> Iterator[str]:
    """What was acked, and that was answered, does not come again, and is no dead letter."""
    answered: dict[Place, float] = defaultdict(lambda: math.inf)
    ends = _ends(case)
    for word in case.history.settlings:
        end = ends.get(word.stream)
        if word.verdict is Verdict.ACKED:
            answered[_place(word)] = min(answered[_place(word)], word.time)
        elif word.verdict is Verdict.ACK and end is not None and end.is_answered:
            answered[_place(word)] = min(answered[_place(word)], end.time)
    for handing in case.history.handings:
        if handing.time > answered[_place(handing)] + _GRACE_SECONDS:
            yield f"{_show(handing)}, and its ack was answered at {answered[_place(handing)]:.2f}"
    for letter in case.history.letters:
        if answered[_place(letter)] < case.history.redrive_time:
            yield f"{_place(letter)} is a dead letter, and its ack was answered"


def ordered_keeps_order(case: Case) -> Iterator[str]:
    """In an ordered group a message comes when all before it are acked or dead, and none after a later one."""
    settled: dict[Place, float] = {}
    for word in case.history.settlings:
        if word.verdict is not Verdict.NACK:
            settled.setdefault(_place(word), word.time)
    before_redrive = _by_place(case, until=case.history.redrive_time)
    for letter in case.history.letters:  # not before its last attempt
        settled[_place(letter)] = max((handing.time for handing in before_redrive[_place(letter)]), default=0.0)
    next_at: dict[tuple[str, str], int] = defaultdict(int)
    latest: dict[tuple[str, str], Handing] = {}
    for handing in sorted(case.history.handings, key=lambda handing: handing.time):
        terms = case.scene.groups[handing.group]
        if not terms.is_ordered or handing.time >= case.history.redrive_time:
            continue
        where = handing.group, handing.conversation_id
        visible = case.visible[handing.conversation_id, terms.username]
        # Everything before `at` is settled, and stays so.
        at = next_at[where]
        while at < len(visible) and settled.get((*where, visible[at]), math.inf) < handing.time:
            at += 1
        next_at[where] = at
        if at < len(visible) and handing.seq > visible[at]:
            yield f"{_show(handing)}, and {visible[at]} was not settled"
        before = latest.setdefault(where, handing)
        if handing.seq > before.seq:
            latest[where] = handing
        elif handing.seq < before.seq and handing.time > before.time + _GRACE_SECONDS:
            yield f"{_show(before)}, then {_show(handing)}"


def dead_letters_are_true(case: Case) -> Iterator[str]:
    """A dead letter has the original message, all attempts, and the reason of the last one."""
    words: dict[Place, list[Settling]] = defaultdict(list)
    for word in case.history.settlings:
        words[_place(word)].append(word)
    by_place = _by_place(case)
    for letter in case.history.letters:
        place, max_attempts = _place(letter), case.scene.groups[letter.group].max_attempts
        entry = case.entries.get((letter.conversation_id, letter.seq))
        if not _is_same(letter, entry):
            yield f"{place} has {letter.request_id}; there is {entry}"
        if letter.attempts != max_attempts:
            yield f"{place} has {letter.attempts} attempts of {max_attempts}"
        last_streams = {handing.stream for handing in by_place.get(place, []) if handing.attempt == max_attempts}
        reasons = {word.reason for word in words[place] if word.stream in last_streams and word.reason}
        last_reason = max(reasons, default="")  # a stream that nacked it before was given it again: attempts rise
        if letter.last_reason not in (last_reason, *_REASONS_OF_THE_SERVER) or not letter.last_reason:
            yield f"{place} has {letter.last_reason!r}, and was nacked for {reasons}"


def redriven_comes_again(case: Case) -> Iterator[str]:
    """What was redriven comes again, with attempts from 1; acked then, it is no dead letter any more."""
    again = {
        _place(handing)
        for handing in case.history.handings
        if handing.time >= case.history.redrive_time and handing.attempt == 1
    }
    for letter in case.history.letters:
        if _place(letter) not in again:
            yield f"{_place(letter)} did not come again"
    for letter in case.history.letters_left:
        yield f"{_place(letter)} is still a dead letter"


def _is_same(step: Handing | Letter, entry: Entry | None) -> bool:
    return entry is not None and (entry.sender, entry.request_id, entry.text) == (
        step.sender,
        step.request_id,
        step.text,
    )


def _place(step: Handing | Settling | Letter | Unsettled) -> Place:
    return step.group, step.conversation_id, step.seq


def _places(case: Case) -> Iterator[Place]:
    """All that must come to a group."""
    for group, terms in case.scene.groups.items():
        for (conversation_id, username), visible in case.visible.items():
            if username == terms.username:
                yield from ((group, conversation_id, seq) for seq in visible)


def _by_place(case: Case, *, until: float = math.inf) -> dict[Place, list[Handing]]:
    handings: dict[Place, list[Handing]] = defaultdict(list)
    for handing in sorted(case.history.handings, key=lambda handing: handing.time):
        if handing.time < until:
            handings[_place(handing)].append(handing)
    return handings


def _ends(case: Case) -> dict[int, StreamEnd]:
    return {end.stream: end for end in case.history.stream_ends}


def _show(handing: Handing) -> str:
    where = f"{handing.conversation_id}/{handing.seq} to {handing.group}, stream {handing.stream}"
    return f"{where}, attempt {handing.attempt} at {handing.time:.2f}"


CONSUMER_RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        handed_is_in_log,
        handed_whole,
        settled_whole,
        held_by_one,
        attempts_are_kept,
        acked_is_over,
        ordered_keeps_order,
        dead_letters_are_true,
        redriven_comes_again,
    )
}
