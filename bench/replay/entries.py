"""Turns what the server gives into what is compared."""

from parley.v1 import message_pb2

from bench.replay import compare
from bench.replay.compare import Entry

STYLE = "style"
"""The attribute of a message that says how it was said: the irc.Kind's value."""

_CHANGES = {
    message_pb2.MembershipChange.ACTION_ADDED: compare.ADDED,
    message_pb2.MembershipChange.ACTION_REMOVED: compare.REMOVED,
}


def to_entry(message: message_pb2.Message) -> Entry:
    """Returns a log's entry, reduced to what is compared."""
    match message.WhichOneof("entry"):
        case "message":
            return Entry(message.seq, message.sender, compare.MESSAGE, message.text, message.attributes[STYLE])
        case "membership":
            what = _CHANGES.get(message.membership.action, compare.UNKNOWN)
            return Entry(message.seq, message.sender, what, " ".join(message.membership.members))
        case _:
            return Entry(message.seq, message.sender, compare.UNKNOWN, message.text)
