"""Checks what readers were brought against what senders were told. Pure: no gRPC, no clock.

In two steps, since many streams are brought the same. `Logs.digest` looks at each message once a process: is the text
whole, is it what another stream was brought under this seq, does what one sender said stand in the order said? What
remains of it is runs of rising seqs. `Reader.advance` compares those with what its stream had before. At the end
`judge` holds the acknowledgements of all processes against both. A message takes 8 bytes in `Log` and 16 in `Acks`.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from parley.v1 import message_pb2

from bench.results import Verification
from bench.texts import Texts

_SENDER_SHIFT = 40
_ALTERED = -1
_UNKNOWN = 0  # no key: numbers begin at 1


def to_key(sender: int, number: int) -> int:
    """Sender and number as one: what a log holds at a seq."""
    return sender << _SENDER_SHIFT | number


@dataclass(slots=True)
class Run:
    """Messages of one conversation with rising seqs without a hole, as they came in one frame.

    Attributes:
        times: when they were to be sent, in microseconds, and how many of each, in turn.
    """

    conversation: str
    first_seq: int
    last_seq: int
    times: list[tuple[int, int]]

    @property
    def count(self) -> int:
        """How many messages."""
        return self.last_seq - self.first_seq + 1

    def close(self, last_seq: int, time_us: int, count: int) -> None:
        """Notes the end, and the last time with how many had it."""
        self.last_seq = last_seq
        if count:
            self.times.append((time_us, count))


@dataclass(slots=True)
class Log:
    """What stands in a conversation as this process saw it first: a key a seq, from `base_seq` + 1 on."""

    base_seq: int
    keys: "array[int]" = field(default_factory=lambda: array("q"))
    last_numbers: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Acks:
    """What senders were told to be stored in a conversation: seqs and, at the same places, keys."""

    seqs: "array[int]" = field(default_factory=lambda: array("q"))
    keys: "array[int]" = field(default_factory=lambda: array("q"))


def find_last_seqs(senders: Iterable[Mapping[str, int | Acks]]) -> dict[str, int]:
    """The highest acknowledged seq of each conversation, over all senders; conversations without one are left out.

    Args:
        senders: what each was told, by conversation: its acknowledgements, or the highest of their seqs already.
    """
    last_seqs: dict[str, int] = {}
    for sender in senders:
        for conversation, told in sender.items():
            seq = told if isinstance(told, int) else max(told.seqs, default=0)
            if seq > last_seqs.get(conversation, 0):
                last_seqs[conversation] = seq
    return last_seqs


class Logs:
    """The conversations that this process reads.

    Attributes:
        altered, doubled, disordered: as in `Verification`; of messages as they came first.
    """

    def __init__(self, texts: Texts, base_seqs: Mapping[str, int]) -> None:
        self._texts = texts
        self.logs = {conversation: Log(base_seq) for conversation, base_seq in base_seqs.items()}
        self.altered = 0
        self.doubled = 0
        self.disordered = 0

    def digest(self, messages: Iterable[message_pb2.Message]) -> list[Run]:
        """Looks at the messages of a frame; those of conversations that are none of ours are left out."""
        runs: list[Run] = []
        run: Run | None = None
        log, keys, base_seq, next_seq = Log(0), array("q"), 0, 0
        time_us, time_count = 0, 0
        read = self._texts.read
        for message in messages:
            conversation, seq = message.conversation_id, message.seq
            if run is None or seq != next_seq or conversation != run.conversation:
                found = self.logs.get(conversation)
                if run is not None:
                    run.close(next_seq - 1, time_us, time_count)
                    time_count, run = 0, None
                if found is None:
                    continue
                log, keys, base_seq = found, found.keys, found.base_seq
                run = Run(conversation, seq, seq, [])
                runs.append(run)
            next_seq = seq + 1
            said = read(message.text)
            if said is None:
                self._note(log, seq, _ALTERED)
                continue
            sender, number, said_us = said
            if said_us != time_us:
                if time_count:
                    run.times.append((time_us, time_count))
                time_us, time_count = said_us, 0
            time_count += 1
            # Nearly always: the next of its log, and a later one of its sender than the last.
            if seq - base_seq == len(keys) + 1 and number > log.last_numbers.get(sender, 0):
                keys.append(sender << _SENDER_SHIFT | number)
                log.last_numbers[sender] = number
            else:
                self._note(log, seq, sender << _SENDER_SHIFT | number)
        if run is not None:
            run.close(next_seq - 1, time_us, time_count)
        return runs

    def _note(self, log: Log, seq: int, key: int) -> None:
        """Puts a key to its seq, or compares it with what is there."""
        keys, place = log.keys, seq - log.base_seq - 1
        if place < 0:
            return  # older than the run
        if place < len(keys):
            if keys[place] == _UNKNOWN:
                keys[place] = key
            elif keys[place] != key:
                self.altered += 1
            return
        keys.extend([_UNKNOWN] * (place - len(keys)))  # `Reader.advance` counts what was skipped
        keys.append(key)
        if key == _ALTERED:
            self.altered += 1
            return
        sender, number = key >> _SENDER_SHIFT, key & (1 << _SENDER_SHIFT) - 1
        last = log.last_numbers.get(sender, 0)
        # The same message under two seqs, or two that changed places between the sender and the log.
        if number == last:
            self.doubled += 1
        elif number < last:
            self.disordered += 1
        else:
            log.last_numbers[sender] = number


class Reader:
    """What one stream was brought.

    Attributes:
        next_seqs: conversation to the seq that must come next.
        missing: seqs below those that did not come, by conversation; empty unless something is wrong.
    """

    def __init__(self, base_seqs: Mapping[str, int]) -> None:
        self.next_seqs = {conversation: base_seq + 1 for conversation, base_seq in base_seqs.items()}
        self.missing: dict[str, set[int]] = {}
        self.checked = 0
        self.doubled = 0
        self.disordered = 0

    def advance(self, runs: Sequence[Run]) -> int:
        """Takes what a frame brought; returns how many messages were new to this stream."""
        new = 0
        for run in runs:
            expected = self.next_seqs.get(run.conversation)
            if expected is None:
                continue
            self.checked += run.count
            if run.first_seq == expected:
                self.next_seqs[run.conversation] = run.last_seq + 1
                new += run.count
            else:
                new += self._mend(run, expected)
        return new

    def has(self, conversation: str, seq: int) -> bool:
        """Whether all up to a seq was brought, or was skipped for good."""
        return self.next_seqs.get(conversation, seq + 1) > seq

    def _mend(self, run: Run, expected: int) -> int:
        """Sorts a run that does not begin with the next seq."""
        missing = self.missing.setdefault(run.conversation, set())
        if run.first_seq > expected:
            self.disordered += 1
            missing.update(range(expected, run.first_seq))
            self.next_seqs[run.conversation] = run.last_seq + 1
            return run.count
        new = 0
        for seq in range(run.first_seq, run.last_seq + 1):
            if seq >= expected:
                new += 1
            elif seq in missing:
                missing.discard(seq)
                self.disordered += 1
                new += 1
            else:
                self.doubled += 1
        self.next_seqs[run.conversation] = max(expected, run.last_seq + 1)
        return new


@dataclass(frozen=True, slots=True)
class Brought:
    """What one stream had of one conversation at the end: all below `next_seq` but `missing`."""

    conversation: str
    next_seq: int
    missing: frozenset[int]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one generator process saw, for `judge`.

    Attributes:
        acks: of each sender, by conversation.
        logs: conversation to (base_seq, keys).
        brought: of the streams that were open at the end; of one that ended early nothing is held against anybody.
        found: what was wrong already.
    """

    acks: Mapping[str, Sequence[Acks]]
    logs: Mapping[str, tuple[int, "array[int]"]]
    brought: Sequence[Brought]
    found: Verification


def judge(evidence: Sequence[Evidence]) -> Verification:
    """Says what was wrong, with what the processes saw taken together."""
    totals = {name: sum(getattr(each.found, name) for each in evidence) for name in Verification.__dataclass_fields__}
    acks: dict[str, list[Acks]] = {}
    for each in evidence:
        for conversation, senders in each.acks.items():
            acks.setdefault(conversation, []).extend(senders)
    for each in evidence:
        for conversation, (base_seq, keys) in each.logs.items():
            for acked in acks.get(conversation, ()):
                totals["altered"] += _count_altered(acked, base_seq, keys)
        for brought in each.brought:
            for acked in acks.get(brought.conversation, ()):
                totals["lost"] += _count_lost(acked, brought)
    return Verification(**totals)


def _count_altered(acked: Acks, base_seq: int, keys: "array[int]") -> int:
    """How many acknowledged messages stand in the log as another."""
    count = len(keys)
    return sum(
        1
        for seq, key in zip(acked.seqs, acked.keys, strict=True)
        if 0 <= seq - base_seq - 1 < count and keys[seq - base_seq - 1] not in (key, _UNKNOWN)
    )


def _count_lost(acked: Acks, brought: Brought) -> int:
    """How many acknowledged messages a stream was not brought."""
    if not brought.missing and (not acked.seqs or max(acked.seqs) < brought.next_seq):
        return 0
    return sum(1 for seq in acked.seqs if seq >= brought.next_seq or seq in brought.missing)
