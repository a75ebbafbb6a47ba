"""What storage gives and takes: frozen values, no drivers, no protobuf.

Times are aware and UTC. Seqs begin with 1; 0 means "nothing yet". Enum values equal the contract's numbers and the
columns' values.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, NamedTuple


class Role(IntEnum):
    """What a member may do; the higher may all that the lower may. GONE is a former member."""

    GONE = 0
    READER = 1
    MEMBER = 2
    ADMIN = 3
    OWNER = 4


class ConversationKind(IntEnum):
    """Direct or group."""

    DIRECT = 1
    GROUP = 2


class EntryKind(IntEnum):
    """The kinds of entries that this version stores; `service/convert/entry_kinds.py` has what each of them does."""

    MESSAGE = 1
    MEMBERSHIP = 2


class MembershipAction(IntEnum):
    """What a membership entry did; the contract's MembershipChange.Action."""

    ADDED = 1
    REMOVED = 2
    ROLE_CHANGED = 3
    CONVERSATION_DELETED = 4


class Outcome(IntEnum):
    """What became of one draft; the numbers of the SQL function append_entries."""

    STORED = 0
    DUPLICATE = 1
    REUSED = 2
    NO_CONVERSATION = 3
    NOT_A_MEMBER = 4
    ROLE_TOO_LOW = 5
    REPLY_NOT_FOUND = 6


class AckMode(IntEnum):
    """How a device acknowledges; the contract's numbers and the column's values."""

    CUMULATIVE = 1
    MANUAL = 2


@dataclass(frozen=True, slots=True)
class DeviceMode:
    """What all streams of a device must agree on.

    Attributes:
        is_ordered: a conversation waits until its head is settled; with MANUAL alone.
        no_echo: the user's own messages are left out; with MANUAL alone, else it is each stream's own affair.
    """

    ack_mode: AckMode = AckMode.CUMULATIVE
    is_ordered: bool = False
    no_echo: bool = False


@dataclass(frozen=True, slots=True)
class Deployment:
    """What `migrate` made once: who this deployment is.

    Attributes:
        deployment_id: the same in each copy of the database, for ever.
        epoch: the number of the server's history.
        cluster: tells copies of the database apart (`storage/postgres/schema/identity.py`).
        hash_key: keys the hashes by which repeats are compared.
    """

    deployment_id: str
    epoch: int
    cluster: str
    hash_key: bytes

    @property
    def namespace(self) -> str:
        """What begins every Redis key and channel: a copy elsewhere and an earlier epoch have others."""
        return f"{self.deployment_id}.{self.epoch}.{self.cluster}"


@dataclass(frozen=True, slots=True)
class User:
    """An account."""

    username: str
    display_name: str
    avatar_uri: str
    create_time: datetime
    delete_time: datetime | None = None
    disable_time: datetime | None = None
    password_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Login:
    """A login on a device: what a chain of refresh tokens belongs to."""

    login_id: str
    username: str
    device_id: str
    refresh_hash: bytes
    previous_hash: bytes | None
    previous_request: str | None
    exchange_time: datetime | None
    expire_time: datetime
    end_time: datetime | None


@dataclass(frozen=True, slots=True)
class Revocation:
    """An end of a login (or, without login_id, of all tokens of a user issued before revoke_time)."""

    revocation_id: int
    username: str
    login_id: str | None
    revoke_time: datetime
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """What a membership entry says."""

    action: MembershipAction
    members: tuple[str, ...]
    role: Role


class Draft(NamedTuple):
    """A message that is to be stored; everything about it is checked already but what the database knows.

    A named tuple, as `Stored` is: there is one for each message, and a frozen dataclass takes four times as long.

    Attributes:
        size_bytes: about what it takes in a frame; bounds pages.
        extras: attachments, mentions and attributes as JSON text, or None when there are none.
    """

    conversation_id: str
    sender: str
    request_id: str
    request_hash: bytes
    size_bytes: int
    text: str = ""
    data: bytes | None = None
    content_type: str | None = None
    reply_to_seq: int = 0
    extras: str | None = None


class Stored(NamedTuple):
    """What became of a draft. seq and create_time are set when it is STORED or a DUPLICATE."""

    outcome: Outcome
    seq: int
    create_time: datetime | None


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a conversation's log.

    Attributes:
        kind: EntryKind, or a number that a newer version stored.
        size_bytes: about what it takes in a frame; bounds pages.
        extras: the decoded JSON: attachments, mentions and attributes, or what a membership entry changed.
    """

    conversation_id: str
    seq: int
    kind: int
    sender: str
    request_id: str
    create_time: datetime
    size_bytes: int
    reply_to_seq: int = 0
    text: str = ""
    data: bytes | None = None
    content_type: str | None = None
    extras: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a log on behalf of a user.

    Attributes:
        last_seq: the last seq that the user may see.
        has_more: whether there is more in the direction that was read.
    """

    entries: tuple[Entry, ...]
    last_seq: int
    has_more: bool
    epoch: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a user lacks of one log, as far as it was read.

    Attributes:
        end_seq: the last seq that the user may see.
        floor_seq: from here on everything is visible to the user.
        is_member: False for a former member.
    """

    entries: list[Entry]
    end_seq: int
    floor_seq: int
    is_member: bool


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as one of its members sees it.

    Attributes:
        last_entry: the newest entry that the member may see, where it was asked for.
    """

    conversation_id: str
    kind: ConversationKind
    title: str
    history_visible: bool
    create_time: datetime
    last_time: datetime
    first_seq: int
    last_seq: int
    member_count: int
    role: Role
    read_seq: int
    unread_count: int
    last_entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A user in a conversation."""

    username: str
    display_name: str
    role: Role
    join_time: datetime
    read_seq: int


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a conversation: everything up to seq is covered."""

    conversation_id: str
    seq: int


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a log: what lies between two seqs, neither of them included."""

    conversation_id: str
    after_seq: int
    before_seq: int


@dataclass(frozen=True, slots=True)
class SubscriptionStart:
    """What a stream of a user needs to know of one of the user's conversations.

    Attributes:
        last_seq: the last seq that the user may see now.
        start_seq: where this device begins: its cursor, or where a device without one does.
        cursor_epoch: the epoch of that cursor; 0 when there is none.
        floor_seq: the lowest seq from which on everything is visible; a shared tail may serve the user from there.
        is_member: False for a former member, who gets what is missing up to last_seq and nothing above.
    """

    conversation_id: str
    last_seq: int
    start_seq: int
    cursor_epoch: int
    floor_seq: int
    is_member: bool


@dataclass(frozen=True, slots=True)
class MembershipView:
    """What a decision about a conversation's membership is made from; read while the conversation is locked.

    Attributes:
        caller_role: GONE when the caller is not in it.
        roles: the roles of the users that the request names; GONE for those who are not in it.
        successor: of the members that the request does not name the one with the highest role, of those the one who
            joined first; None when there is no such member.
        successor_role: GONE without a successor.
    """

    kind: ConversationKind
    member_count: int
    caller_role: Role
    roles: dict[str, Role]
    successor: str | None
    successor_role: Role


@dataclass(frozen=True, slots=True)
class MembershipResult:
    """What became of a membership request.

    Attributes:
        outcome: STORED (also when there was nothing to change), DUPLICATE, REUSED or NO_CONVERSATION.
        entries: the entries that it wrote, or for a DUPLICATE the first one's.
        moved: who is a member of something else than before, sorted; empty unless STORED.
    """

    outcome: Outcome
    entries: tuple[Entry, ...] = ()
    moved: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadPosition:
    """Up to where a member has read.

    Attributes:
        last_seq: the conversation's end.
        is_moved: whether this call moved it.
    """

    read_seq: int
    unread_count: int
    last_seq: int
    is_moved: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """Up to where a member has a conversation, on any device, and has read it; read_seq <= delivered_seq."""

    conversation_id: str
    username: str
    delivered_seq: int
    read_seq: int


@dataclass(frozen=True, slots=True)
class ReceiptCount:
    """How many members have, and have read, a conversation up to seq, its end."""

    conversation_id: str
    seq: int
    delivered_count: int
    read_count: int


@dataclass(frozen=True, slots=True)
class Creation:
    """What became of a request to make a group.

    Attributes:
        outcome: STORED, DUPLICATE or REUSED.
        conversation_id: the group; for a DUPLICATE the one that the first request made.
    """

    outcome: Outcome
    conversation_id: str
