"""Log entries to `parley.v1.Message`.

The shape of an entry's `extras` (decoded JSON; keys that would be empty are left out):

    {"attachments": [{"uri": "...", "media_type": "...", "size_bytes": 1, "name": "..."}],
     "mentions": ["bob"], "attributes": {"key": "value"}}                     in a message
    {"membership": {"action": 1, "members": ["bob"], "role": 2}}              in a membership entry

Messages get theirs in `service/convert/drafts.py`, membership entries in `storage/postgres/conversations/members.py`.
"""

from typing import Any

from parley.v1 import message_pb2

from service.convert.timestamps import to_timestamp
from storage.records import Entry, EntryKind


def to_message(entry: Entry) -> message_pb2.Message:
    """Returns the entry as clients see it; a kind that this version does not know has no `entry` arm."""
    extras = entry.extras or {}
    message = message_pb2.Message(
        conversation_id=entry.conversation_id,
        seq=entry.seq,
        sender=entry.sender,
        text=entry.text,
        data=entry.data or b"",
        content_type=entry.content_type or "",
        request_id=entry.request_id,
        create_time=to_timestamp(entry.create_time),
        attachments=[message_pb2.Attachment(**attachment) for attachment in extras.get("attachments", ())],
        reply_to_seq=entry.reply_to_seq,
        mentions=extras.get("mentions", ()),
        attributes=extras.get("attributes", {}),
    )
    if entry.kind == EntryKind.MESSAGE:
        message.message.SetInParent()
    elif entry.kind == EntryKind.MEMBERSHIP:
        message.membership.CopyFrom(_to_membership(extras["membership"]))
    return message


def _to_membership(change: dict[str, Any]) -> message_pb2.MembershipChange:
    return message_pb2.MembershipChange(action=change["action"], members=change["members"], role=change["role"])
