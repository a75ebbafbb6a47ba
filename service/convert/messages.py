"""Log entries to `parley.v1.Message`.

The shape of an entry's `extras` (decoded JSON; keys that would be empty are left out):

    {"attachments": [{"uri": "...", "media_type": "...", "size_bytes": 1, "name": "..."}],
     "mentions": ["bob"], "attributes": {"key": "value"}}                     in a message
    {"membership": {"action": 1, "members": ["bob"], "role": 2}}              in a membership entry

Messages get theirs in `service/convert/drafts.py`, membership entries in `storage/postgres/conversations/members.py`.
"""

from parley.v1 import message_pb2

from service.convert.entry_kinds import KINDS
from service.convert.timestamps import to_timestamp
from storage.records import Entry


def to_message(entry: Entry) -> message_pb2.Message:
    """Returns the entry as clients see it; a kind that this version does not know has no arm of `entry`."""
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
    kind = KINDS.get(entry.kind)
    if kind is not None:
        getattr(message, kind.arm).CopyFrom(kind.to_arm(entry))  # also of an empty value: it sets the arm
    return message
