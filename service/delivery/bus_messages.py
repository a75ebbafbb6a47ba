"""Every message that workers send each other over the bus: a frozen class with its channel, its bytes and its repair.

The bus may lose, repeat and reorder messages, so each class names the REPAIR: what finds the same fact again when its
message is lost. Nothing else in the tree names a bus channel or encodes a bus message; `bus_decoder.py` is the way
back. docs/bus.md lists the classes, and a test compares. Workers of other releases read and write the same bytes: other
bytes need another channel, or another version of the frame.
"""

import json
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias

from service.convert import responses
from service.convert.items import Item
from service.delivery import bus_frames
from service.delivery.bus_frames import FrameType
from storage.records import Receipt, Revocation
from storage.redis.bus import Bus
from storage.redis.presence import PresenceRecord

# What stands before the colon of a channel; the last three have no colon.
CONVERSATION = "c"
USER = "u"
PRESENCE = "p"
RECEIPTS_CHANNEL = "receipts"
REVOCATIONS_CHANNEL = "revocations"
# Common to all workers with the deployment id, also those of a copy of the database; outside the namespace.
WORKERS_CHANNEL = "workers"


def conversation_channel(conversation_id: str) -> str:
    """The channel of a conversation."""
    return f"{CONVERSATION}:{conversation_id}"


def user_channel(username: str) -> str:
    """The channel of a user's memberships and devices."""
    return f"{USER}:{username}"


def presence_channel(username: str) -> str:
    """The channel of a user's presence."""
    return f"{PRESENCE}:{username}"


def subscribed_names(bus: Bus, kind: str) -> list[str]:
    """Lists the conversations (or users) whose channels of this kind are subscribed."""
    prefix = f"{kind}:"
    return [channel.removeprefix(prefix) for channel in bus.channels(prefix)]


@dataclass(frozen=True, slots=True)
class EntriesStored:
    """Entries of one conversation were committed; their seqs follow each other."""

    REPAIR: ClassVar = "the commit feed, read every second, and the hub's read of a gap after 30 ms"

    conversation_id: str
    items: list[Item]

    @property
    def channel(self) -> str:
        """Where the message goes."""
        return conversation_channel(self.conversation_id)

    def encode(self) -> bytes:
        """The bytes of the message."""
        return bus_frames.pack(FrameType.ENTRIES, self.conversation_id, self.items)


@dataclass(frozen=True, slots=True)
class TypingChanged:
    """A member began or stopped to type. `origin` is the session id of the member's stream."""

    REPAIR: ClassVar = "none: the state lapses at the reader"

    conversation_id: str
    username: str
    is_active: bool
    origin: int

    @property
    def channel(self) -> str:
        """Where the message goes."""
        return conversation_channel(self.conversation_id)

    def encode(self) -> bytes:
        """The bytes of the message."""
        item = Item(int(self.is_active), self.username.encode(), 0, self.origin)
        return bus_frames.pack(FrameType.TYPING, self.conversation_id, [item])


class MovedReceipt(NamedTuple):
    """A member whose receipt moved, with a ChatResponse as ready bytes; both empty: only a count moved."""

    username: str
    body: bytes

    @classmethod
    def of(cls, receipt: Receipt | None) -> "MovedReceipt":
        """Encodes a receipt; None: only a count moved."""
        return cls("", b"") if receipt is None else cls(receipt.username, responses.receipts([receipt]))


@dataclass(frozen=True, slots=True)
class ReceiptsMoved:
    """Members of one conversation have received, or have read, more of it."""

    REPAIR: ClassVar = "the next receipt of the member; every watcher's state anew after the bus was away, and hourly"

    conversation_id: str
    moved: list[MovedReceipt]

    @property
    def channel(self) -> str:
        """Where the message goes."""
        return conversation_channel(self.conversation_id)

    def encode(self) -> bytes:
        """The bytes of the message; of each receipt the length of the name, the name and the ready bytes."""
        names = [moved.username.encode() for moved in self.moved]
        bodies = [bytes([len(name)]) + name + moved.body for name, moved in zip(names, self.moved, strict=True)]
        items = [Item(nth, body, 0, 0) for nth, body in enumerate(bodies)]
        return bus_frames.pack(FrameType.RECEIPTS, self.conversation_id, items)


@dataclass(frozen=True, slots=True)
class ReceiptsWatched:
    """A worker has streams that watch receipts."""

    REPAIR: ClassVar = "the same message, sent again every second"

    @property
    def channel(self) -> str:
        """Where the message goes."""
        return RECEIPTS_CHANNEL

    def encode(self) -> bytes:
        """The bytes of the message: none."""
        return b""


@dataclass(frozen=True, slots=True)
class MembershipsChanged:
    """A user was added to conversations or removed from them."""

    REPAIR: ClassVar = "the comparison of membership versions, every 3 s and after the bus was away"

    username: str

    @property
    def channel(self) -> str:
        """Where the message goes."""
        return user_channel(self.username)

    def encode(self) -> bytes:
        """The bytes of the message: none."""
        return b""


@dataclass(frozen=True, slots=True)
class DeliveriesReturned:
    """A device with manual acks has messages again that any of its streams may take. The device id is not empty."""

    REPAIR: ClassVar = "the tick of manual delivery, every second"

    username: str
    device_id: str

    @property
    def channel(self) -> str:
        """Where the message goes."""
        return user_channel(self.username)

    def encode(self) -> bytes:
        """The bytes of the message."""
        return self.device_id.encode()


@dataclass(frozen=True, slots=True)
class PresenceChanged:
    """A user came online or went offline."""

    REPAIR: ClassVar = "the comparison of everybody who is watched with Redis, every 3 s"

    username: str
    record: PresenceRecord

    @property
    def channel(self) -> str:
        """Where the message goes."""
        return presence_channel(self.username)

    def encode(self) -> bytes:
        """The bytes of the message."""
        seen_time = self.record.last_seen_time
        return json.dumps([self.record.is_online, seen_time.isoformat() if seen_time else None]).encode()


@dataclass(frozen=True, slots=True)
class LoginsEnded:
    """A login ended, or all logins of a user."""

    REPAIR: ClassVar = "the poll of the table of revocations, every 5 s"

    revocation: Revocation

    @property
    def channel(self) -> str:
        """Where the message goes."""
        return REVOCATIONS_CHANNEL

    def encode(self) -> bytes:
        """The bytes of the message."""
        revocation = self.revocation
        return json.dumps(
            {
                "id": revocation.revocation_id,
                "username": revocation.username,
                "login_id": revocation.login_id,
                "revoke_time": revocation.revoke_time.isoformat(),
                "expire_time": revocation.expire_time.isoformat(),
            }
        ).encode()


@dataclass(frozen=True, slots=True)
class WorkerAnnounced:
    """A worker serves. Workers of a copy of the database hear it, too. `database` is the worker's namespace."""

    REPAIR: ClassVar = "the same message, sent again every 5 s"

    worker_id: str
    database: str
    host: str

    @property
    def channel(self) -> str:
        """Where the message goes."""
        return WORKERS_CHANNEL

    def encode(self) -> bytes:
        """The bytes of the message."""
        return json.dumps({"worker": self.worker_id, "database": self.database, "host": self.host}).encode()


BusMessage: TypeAlias = (
    EntriesStored
    | TypingChanged
    | ReceiptsMoved
    | ReceiptsWatched
    | MembershipsChanged
    | DeliveriesReturned
    | PresenceChanged
    | LoginsEnded
    | WorkerAnnounced
)


def publish_entries_nowait(bus: Bus, conversation_id: str, items: list[Item]) -> None:
    """Queues `EntriesStored` as `publish_nowait` does, without an object for each: most of the bus is this."""
    bus.publish_nowait(f"{CONVERSATION}:{conversation_id}", bus_frames.pack(FrameType.ENTRIES, conversation_id, items))


def publish_nowait(bus: Bus, message: BusMessage) -> None:
    """Queues a message to the other workers, and to this one where it is subscribed."""
    if isinstance(message, WorkerAnnounced):
        bus.announce_nowait(message.encode())
    else:
        bus.publish_nowait(message.channel, message.encode())
