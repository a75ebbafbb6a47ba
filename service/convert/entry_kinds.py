"""The kinds of entries of a log: a row for each, which everything in Python that depends on a kind reads.

To add a kind, add its arm to the contract's oneof `Message.entry` and its row here. A kind that counts as a message, or
that is shown as a conversation's last entry, is in SQL, too: the function counts_as_message
(`storage/postgres/schema/functions/log.sql`), and `_LAST_ENTRY` in `storage/postgres/conversations/conversations.py`.
ADR 1 is the page.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from google.protobuf.message import Message
from parley.v1 import chat_pb2, message_pb2

from service.convert.items import Item
from storage.records import Entry, EntryKind, MembershipAction


@dataclass(frozen=True, slots=True)
class MembershipEffect:
    """The effect of an entry on the sessions of its conversation.

    Attributes:
        added: users who are members from this entry on.
        removed: users who see this entry and nothing above it.
        are_all_removed: whether all users are removed: the conversation is deleted.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    are_all_removed: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of entry.

    Attributes:
        number: the value of `messages.kind`.
        arm: the field of the oneof `Message.entry`.
        counts_as_message: whether unread counts and message numbers count it; SQL's counts_as_message.
        to_arm: builds the value of that field.
        membership: reads the effect on the sessions of the channel from ready bytes; None: there is none.
        replacement: reads from an item what takes the place of the ready bytes of an earlier entry: an item with the
            seq of that entry. None: no entry of this kind changes another one.
        has_effect: whether an item of this kind has to be looked at when it is delivered.
    """

    number: int
    arm: str
    counts_as_message: bool
    to_arm: Callable[[Entry], Message]
    membership: Callable[[bytes], MembershipEffect] | None = None
    replacement: Callable[[Item], Item] | None = None
    has_effect: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "has_effect", self.membership is not None or self.replacement is not None)


def _to_plain(_: Entry) -> message_pb2.PlainMessage:
    return message_pb2.PlainMessage()


def _to_membership(entry: Entry) -> message_pb2.MembershipChange:
    change = (entry.extras or {})["membership"]
    return message_pb2.MembershipChange(action=change["action"], members=change["members"], role=change["role"])


@lru_cache(maxsize=1024)  # every session that replays an entry asks for the effect of the same bytes
def _membership_in(body: bytes) -> MembershipEffect:
    change = chat_pb2.ChatResponse.FromString(body).messages[0].membership
    members = tuple(change.members)
    match change.action:
        case MembershipAction.ADDED:
            return MembershipEffect(added=members)
        case MembershipAction.REMOVED:
            return MembershipEffect(removed=members)
        case MembershipAction.CONVERSATION_DELETED:
            return MembershipEffect(are_all_removed=True)
    return MembershipEffect()


# By number. A kind that is not here has no arm and no effect, and is delivered all the same: a newer worker stored it.
KINDS = {
    kind.number: kind
    for kind in (
        Kind(EntryKind.MESSAGE, "message", counts_as_message=True, to_arm=_to_plain),
        Kind(
            EntryKind.MEMBERSHIP,
            "membership",
            counts_as_message=False,
            to_arm=_to_membership,
            membership=_membership_in,
        ),
    )
}


def membership_of(item: Item) -> MembershipEffect | None:
    """Returns what an item does to the sessions of its conversation; None: nothing, whatever it holds."""
    kind = KINDS.get(item.kind)
    return kind.membership(item.body) if kind is not None and kind.membership is not None else None
