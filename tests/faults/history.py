"""What the clients of a run saw, as plain records, and what the log has in the end. No judgement: that is `checker.py`.

Times are seconds of one monotonic clock: all clients of a run live in one process, so "before" has a meaning.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
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
class Scene:
    """Who was where.

    Attributes:
        members: conversation -> its first members, who see it from seq 1.
        devices: device -> its user; each is to get all that its user may see.
        windows: device -> how many entries it lets be under way; one that is not here gives no limit.
    """

    members: Mapping[str, frozenset[str]]
    devices: Mapping[str, str]
    windows: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class History:
    """Appended to by all clients of a run, in the order of time."""

    events: list[Event] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)

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
            kinds = {
                "event": self.events,
                "delivery": self.deliveries,
                "ack": self.acks,
                "receipt": self.receipts,
                "log": log,
            }
            for kind, records in kinds.items():
                for record in records:
                    file.write(json.dumps({"kind": kind, **asdict(record)}, default=sorted) + "\n")
