"""What the clients of a run saw, as plain records, and what the log has in the end. No judgement: that is `checker.py`.

Times are seconds of one monotonic clock: all clients of a run live in one process, so "before" has a meaning.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path


class Op(StrEnum):
    """A step of a send."""

    INVOKE = "invoke"  # about to be written to a stream, or called
    OK = "ok"  # acknowledged
    FAIL = "fail"  # refused: it had no effect
    UNKNOWN = "unknown"  # no answer, or one that leaves it open


@dataclass(frozen=True, slots=True)
class Event:
    """One step of one send. A request that is sent again has several of each.

    Attributes:
        stream: the stream's number, unique in the run; 0: a unary call.
        seq: for OK, as answered.
        is_repeat: for OK, `deduplicated`.
        reason: for FAIL and UNKNOWN.
    """

    time: float
    sender: str
    stream: int
    op: Op
    conversation_id: str
    request_id: str
    text: str = ""
    seq: int = 0
    is_repeat: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """An entry that came over a stream."""

    time: float
    device: str
    stream: int
    conversation_id: str
    seq: int
    sender: str
    request_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Ack:
    """A device is about to say that it has all up to a seq, or that its user has read it."""

    time: float
    device: str
    stream: int
    conversation_id: str
    seq: int
    is_read: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a device heard of how far a user has, and has read, a conversation."""

    time: float
    device: str
    conversation_id: str
    username: str
    delivered_seq: int
    read_seq: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the log as it is in the end.

    Attributes:
        is_message: whether somebody sent it, as opposed to a change of membership.
        added: users that a membership entry put in.
        removed: users that it took out.
    """

    conversation_id: str
    seq: int
    sender: str
    request_id: str
    text: str
    is_message: bool = True
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Handing:
    """A message that came to one stream of a consumer group: a device with manual acks."""

    time: float
    group: str
    stream: int
    conversation_id: str
    seq: int
    sender: str
    request_id: str
    text: str
    attempt: int


class Verdict(StrEnum):
    """What a consumer says of a message."""

    ACK = "ack"  # about to be said
    ACKED = "acked"  # said by a call, and answered
    NACK = "nack"  # about to be said


@dataclass(frozen=True, slots=True)
class Settling:
    """One word of a consumer about one message; `reason` is that of a nack."""

    time: float
    group: str
    stream: int
    conversation_id: str
    seq: int
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """A consumer's stream is over.

    Attributes:
        may_count: what it held counts as failed; not so when it was half-closed, or the server ended it.
        is_answered: it ended with OK and refused nothing: all acks on it took effect.
    """

    time: float
    group: str
    stream: int
    may_count: bool
    is_answered: bool


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, as its user was told."""

    group: str
    conversation_id: str
    seq: int
    sender: str
    request_id: str
    text: str
    attempts: int
    last_reason: str


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A message that is neither acked nor dead in the end, or the first of those that nobody was ever given."""

    group: str
    conversation_id: str
    seq: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What a consumer group was promised.

    Attributes:
        username: whose it is; it is to be given all that this user may see.
    """

    username: str
    is_ordered: bool
    deadline_seconds: float
    max_attempts: int


@dataclass(frozen=True, slots=True)
class Scene:
    """Who was where.

    Attributes:
        members: conversation -> its first members, who see it from seq 1.
        devices: device -> its user; each is to get all that its user may see.
        windows: device -> how many entries it lets be under way; one that is not here gives no limit.
        groups: consumer group -> its terms.
        watchers: devices that watch receipts.
    """

    members: Mapping[str, frozenset[str]]
    devices: Mapping[str, str]
    windows: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, Terms] = field(default_factory=dict)
    watchers: frozenset[str] = frozenset()


@dataclass(slots=True)
class History:
    """Appended to by all clients of a run, in the order of time.

    Attributes:
        letters: the dead letters after the quiet period; all of them were redriven then.
        letters_left: those that were there in the end.
        redrive_time: when they were redriven.
    """

    events: list[Event] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    handings: list[Handing] = field(default_factory=list)
    settlings: list[Settling] = field(default_factory=list)
    stream_ends: list[StreamEnd] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    letters_left: list[Letter] = field(default_factory=list)
    unsettled: list[Unsettled] = field(default_factory=list)
    redrive_time: float = math.inf

    @property
    def acknowledged_count(self) -> int:
        """How many different requests were acknowledged."""
        acknowledged = {
            (event.conversation_id, event.sender, event.request_id) for event in self.events if event.op is Op.OK
        }
        return len(acknowledged)

    def write(self, path: Path, log: Iterable[Entry]) -> None:
        """Writes everything down, one JSON object a line, for someone who looks into a violation."""
        with path.open("w", encoding="utf-8") as file:
            for kind in fields(self):
                records = getattr(self, kind.name)
                for record in records if isinstance(records, list) else []:
                    file.write(json.dumps({"kind": kind.name, **asdict(record)}) + "\n")
            for entry in log:
                file.write(json.dumps({"kind": "log", **asdict(entry)}, default=sorted) + "\n")
