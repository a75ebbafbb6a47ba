"""Reads a history and the final log, and says what was promised and not held. Pure; the rules stand in RULES.

Each rule is a function of a `Case`; it gives one line for each violation. A rule looks only at what it is about, so
that a broken build is told by its own rule. `test_checker.py` shows each of them red.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from tests.faults.history import Ack, Delivery, Entry, Event, History, Op, Scene

# (conversation, sender, request id)
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not held."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


class Case:
    """A history with its log, and what several rules look up."""

    def __init__(self, scene: Scene, history: History, log: Iterable[Entry]) -> None:
        self.scene = scene
        self.history = history
        self.log = sorted(log, key=lambda entry: (entry.conversation_id, entry.seq))
        self.entries = {(entry.conversation_id, entry.seq): entry for entry in self.log}
        self.rows: dict[Key, list[Entry]] = defaultdict(list)
        self.texts: dict[Key, str] = {}
        for entry in self.log:
            if entry.is_message:
                self.rows[entry.conversation_id, entry.sender, entry.request_id].append(entry)
        for event in history.events:
            if event.op is Op.INVOKE:
                self.texts[key_of(event)] = event.text
        self.visible, self.present = _list_visible(scene, self.log)
        self.streams: dict[tuple[str, int, str], list[Delivery]] = defaultdict(list)
        for delivery in history.deliveries:
            self.streams[delivery.device, delivery.stream, delivery.conversation_id].append(delivery)

    def seq_of(self, key: Key) -> int | None:
        """Where a request stands in the log."""
        rows = self.rows.get(key)
        return rows[0].seq if rows else None

    def user_of(self, device: str) -> str:
        """Whose a device is; a consumer group is one."""
        return self.scene.devices.get(device) or self.scene.groups[device].username

    def said_by_joining(self) -> dict[tuple[str, str, bool], int]:
        """(conversation, user, whether read) -> seq: what was there before a user joined counts as read."""
        said: dict[tuple[str, str, bool], int] = defaultdict(int)
        for entry in self.log:
            for username in entry.added:
                said[entry.conversation_id, username, False] = said[entry.conversation_id, username, True] = (
                    entry.seq - 1
                )
        return said

    def said_by_devices(self) -> Iterator[Ack]:
        """All acks. What a consumer group was given may be settled, and so may be all before it."""
        yield from self.history.acks
        for step in self.history.handings:
            yield Ack(step.time, step.group, step.stream, step.conversation_id, step.seq)

    def acknowledged(self) -> Iterator[Event]:
        """All answers that said yes."""
        return (event for event in self.history.events if event.op is Op.OK)


def key_of(event: Event) -> Key:
    """Names the request that an event is about."""
    return event.conversation_id, event.sender, event.request_id


def acknowledged_is_kept(case: Case) -> Iterator[str]:
    """What was acknowledged is in the log, with the seq that was told."""
    for event in case.acknowledged():
        entry = case.entries.get((event.conversation_id, event.seq))
        if entry is None or (entry.sender, entry.request_id) != (event.sender, event.request_id):
            yield f"{event.request_id} was told {event.conversation_id}/{event.seq}; there is {_show(entry)}"


def dense(case: Case) -> Iterator[str]:
    """Seqs begin with 1 and have no hole."""
    by_conversation: dict[str, list[int]] = defaultdict(list)
    for entry in case.log:
        by_conversation[entry.conversation_id].append(entry.seq)
    for conversation_id, seqs in by_conversation.items():
        if seqs != list(range(1, len(seqs) + 1)):
            wrong = next(seq for nth, seq in enumerate(seqs, 1) if seq != nth)
            yield f"{conversation_id} has {len(seqs)} entries, and seq {wrong} is out of line"


def one_effect(case: Case) -> Iterator[str]:
    """A request is in the log once, by its id and by its text, which no other request has."""
    for key, rows in case.rows.items():
        if len(rows) > 1:
            yield f"{key} has seqs {[row.seq for row in rows]}"
    by_text: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for entry in case.log:
        if entry.is_message:
            by_text[entry.conversation_id, entry.sender, entry.text].append(entry.seq)
    for (conversation_id, sender, text), seqs in by_text.items():
        if len(seqs) > 1:
            yield f"{sender}'s {text!r} in {conversation_id} has seqs {seqs}"


def repeat_is_told(case: Case) -> Iterator[str]:
    """Who asks again after an answer is told that it was a repeat."""
    answered: set[Key] = set()
    asked_again: set[tuple[Key, int]] = set()
    for event in case.history.events:
        key = key_of(event)
        if event.op is Op.INVOKE and key in answered:
            asked_again.add((key, event.stream))
        elif event.op is Op.OK:
            if not event.is_repeat and (key, event.stream) in asked_again:
                yield f"{key} was answered before, and stream {event.stream} was told that it is new"
            answered.add(key)


def order_of_streams(case: Case) -> Iterator[str]:
    """What a stream was the first to send stands in the log in that order, but for what was refused and came later."""
    refused = {  # UNKNOWN with a reason is an answer; without one the stream had ended, and nothing newer was on it
        (key_of(event), event.stream)
        for event in case.history.events
        if event.op is Op.FAIL or (event.op is Op.UNKNOWN and event.reason)
    }
    first_on: dict[Key, int] = {}
    highest: dict[tuple[int, str], tuple[int, str]] = {}
    for event in case.history.events:
        if event.op is not Op.INVOKE or not event.stream or key_of(event) in first_on:
            continue
        key = key_of(event)
        first_on[key] = event.stream
        seq = case.seq_of(key)
        if seq is None or (key, event.stream) in refused:
            continue
        before = highest.get((event.stream, event.conversation_id), (0, ""))
        if seq < before[0]:
            yield f"stream {event.stream} sent {before[1]} before {event.request_id}; seqs {before[0]} and {seq}"
        else:
            highest[event.stream, event.conversation_id] = seq, event.request_id


def order_of_time(case: Case) -> Iterator[str]:
    """What was acknowledged before another was first sent has the smaller seq."""
    highest: dict[str, tuple[int, str]] = {}
    invoked: set[Key] = set()
    for event in case.history.events:
        key = key_of(event)
        if event.op is Op.OK:
            highest[event.conversation_id] = max(
                (event.seq, event.request_id), highest.get(event.conversation_id, (0, ""))
            )
        elif event.op is Op.INVOKE and key not in invoked:
            invoked.add(key)
            before, seq = highest.get(event.conversation_id, (0, "")), case.seq_of(key)
            if seq is not None and seq <= before[0]:
                yield f"{before[1]} had seq {before[0]} before {event.request_id} was sent, which has {seq}"


def delivered_rises(case: Case) -> Iterator[str]:
    """On one stream the seqs of a conversation rise strictly."""
    for (device, stream, conversation_id), deliveries in case.streams.items():
        for before, after in pairwise(deliveries):
            if after.seq <= before.seq:
                yield f"{device}, stream {stream}, {conversation_id}: {after.seq} came after {before.seq}"


def delivered_without_holes(case: Case) -> Iterator[str]:
    """On one stream nothing that the user may see is left out between two entries."""
    for (device, stream, conversation_id), deliveries in case.streams.items():
        visible = case.visible[conversation_id, case.scene.devices[device]]
        for before, after in pairwise(deliveries):
            low, high = bisect_left(visible, before.seq + 1), bisect_left(visible, after.seq)
            if low < high:
                yield f"{device}, stream {stream}, {conversation_id}: {visible[low]} left out before {after.seq}"


def delivered_whole(case: Case) -> Iterator[str]:
    """Each device got everything that its user may see, over all its streams."""
    got: dict[tuple[str, str], set[int]] = defaultdict(set)
    for delivery in case.history.deliveries:
        got[delivery.device, delivery.conversation_id].add(delivery.seq)
    for (conversation_id, username), visible in case.visible.items():
        for device, owner in case.scene.devices.items():
            if owner == username and (missing := [seq for seq in visible if seq not in got[device, conversation_id]]):
                yield f"{device} never got {len(missing)} entries of {conversation_id}, the first {missing[0]}"


def delivered_is_in_log(case: Case) -> Iterator[str]:
    """What was delivered is what the log has at that seq."""
    for delivery in case.history.deliveries:
        entry = case.entries.get((delivery.conversation_id, delivery.seq))
        if entry is None or (entry.sender, entry.request_id, entry.text) != (
            delivery.sender,
            delivery.request_id,
            delivery.text,
        ):
            place = f"{delivery.conversation_id}/{delivery.seq}"
            yield f"{delivery.device} got {delivery.request_id} as {place}; there is {_show(entry)}"


def log_was_sent(case: Case) -> Iterator[str]:
    """Each message of the log was sent by somebody, so."""
    for entry in case.log:
        if entry.is_message and case.texts.get((entry.conversation_id, entry.sender, entry.request_id)) != entry.text:
            yield f"{entry.conversation_id}/{entry.seq}, {_show(entry)}, was not sent"


def members_only(case: Case) -> Iterator[str]:
    """Nobody got what stands above the entry that removed them for good, or in a conversation that is not theirs."""
    last_seqs: dict[tuple[str, str], int] = {place: seqs[-1] if seqs else 0 for place, seqs in case.visible.items()}
    for delivery in case.history.deliveries:
        username = case.scene.devices[delivery.device]
        if delivery.seq > last_seqs.get((delivery.conversation_id, username), 0):
            entry = case.entries.get((delivery.conversation_id, delivery.seq))
            if entry is not None:  # one that is not in the log at all is another rule's
                yield f"{delivery.device} got {delivery.conversation_id}/{delivery.seq}"


def window_is_kept(case: Case) -> Iterator[str]:
    """No stream has more entries under way than its device lets: brought, and not covered by an ack that was sent."""
    steps: dict[tuple[str, int], list[Delivery | Ack]] = defaultdict(list)
    for step in (*case.history.acks, *case.history.deliveries):
        if step.device in case.scene.windows and not (isinstance(step, Ack) and step.is_read):
            steps[step.device, step.stream].append(step)
    for (device, stream), ordered in steps.items():
        under_way: dict[str, list[int]] = defaultdict(list)
        for step in sorted(ordered, key=lambda step: step.time):
            seqs = under_way[step.conversation_id]
            if isinstance(step, Ack):
                under_way[step.conversation_id] = [seq for seq in seqs if seq > step.seq]
                continue
            seqs.append(step.seq)
            if (count := sum(map(len, under_way.values()))) > case.scene.windows[device]:
                yield f"{device}, stream {stream}: {count} under way at {step.conversation_id}/{step.seq}"


def receipts_in_bounds(case: Case) -> Iterator[str]:
    """A receipt says no more than what a device of its user had said before: 0 <= read <= delivered <= last seq."""
    said = case.said_by_joining()
    steps = sorted((*case.said_by_devices(), *case.history.receipts), key=lambda step: step.time)
    for step in steps:
        if isinstance(step, Ack):
            place = (step.conversation_id, case.user_of(step.device), step.is_read)
            said[place] = max(said[place], step.seq)
            continue
        has, has_read = (said[step.conversation_id, step.username, is_read] for is_read in (False, True))
        is_in_log = step.delivered_seq == 0 or (step.conversation_id, step.delivered_seq) in case.entries
        if not (
            0 <= step.read_seq <= step.delivered_seq <= max(has, has_read) and step.read_seq <= has_read and is_in_log
        ):
            yield f"{step.username} has {has} and read {has_read}; {step.device} heard {step}"


def receipts_whole(case: Case) -> Iterator[str]:
    """Who watches receipts heard in the end how far each member had said to have, and to have read, everything."""
    said = case.said_by_joining()
    for step in case.said_by_devices():
        place = (step.conversation_id, case.user_of(step.device), step.is_read)
        said[place] = max(said[place], step.seq)
    heard = {
        (receipt.device, receipt.conversation_id, receipt.username): (receipt.delivered_seq, receipt.read_seq)
        for receipt in case.history.receipts
    }
    for watcher in case.scene.watchers:
        for conversation_id, present in case.present.items():
            for username in present if case.user_of(watcher) in present else ():
                has, has_read = (said[conversation_id, username, is_read] for is_read in (False, True))
                last = heard.get((watcher, conversation_id, username), (0, 0))
                if last != (max(has, has_read), has_read):
                    yield f"{username} has {has} and read {has_read} of {conversation_id}; {watcher} heard {last}"


Rule = Callable[[Case], Iterator[str]]
RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        acknowledged_is_kept,
        dense,
        one_effect,
        repeat_is_told,
        order_of_streams,
        order_of_time,
        delivered_rises,
        delivered_without_holes,
        delivered_whole,
        delivered_is_in_log,
        log_was_sent,
        members_only,
        window_is_kept,
        receipts_in_bounds,
        receipts_whole,
    )
}


def check(scene: Scene, history: History, log: Iterable[Entry], rules: Mapping[str, Rule] = RULES) -> list[Violation]:
    """Applies every rule; an empty list means that all was held."""
    case = Case(scene, history, log)
    return [Violation(name, what) for name, rule in rules.items() for what in rule(case)]


def _show(entry: Entry | None) -> str:
    return "nothing" if entry is None else f"{entry.sender}'s {entry.request_id or 'entry'}"


def _list_visible(scene: Scene, log: list[Entry]) -> tuple[dict[tuple[str, str], list[int]], dict[str, set[str]]]:
    """What the users must get, and who is there in the end.

    The first is (conversation, user) -> seqs, rising: from joining up to the removal's own entry.
    """
    inside = {conversation_id: set(members) for conversation_id, members in scene.members.items()}
    visible: dict[tuple[str, str], list[int]] = defaultdict(list)
    for conversation_id, members in scene.members.items():
        for username in members:
            visible[conversation_id, username] = []
    for entry in log:
        present = inside.setdefault(entry.conversation_id, set())
        present |= entry.added
        for username in present:
            visible[entry.conversation_id, username].append(entry.seq)
        present -= entry.removed
    return visible, inside
