"""Texts as a terminal may show them. Pure.

What others wrote must not reach the terminal as it is: control characters move the cursor, change titles, and make
some terminals answer. Everything from outside goes through `to_safe_line` or `to_safe_lines` first.
"""

import datetime
import unicodedata
from collections.abc import Mapping

from parley.v1 import message_pb2

_JOINING = frozenset("\u200c\u200d")
"""Scripts and emoji need them; they only join what is beside them."""
_LINE_ENDS = str.maketrans(dict.fromkeys("\r\x0b\x0c\x85\u2028\u2029", "\n"))


def to_safe_line(text: str) -> str:
    """Returns a text on one line that can only be seen: whatever could steer a terminal is shown as a symbol."""
    return "".join(_to_visible(character) for character in text.replace("\r\n", "\n").translate(_LINE_ENDS))


def to_safe_lines(text: str) -> list[str]:
    """Returns a text's lines, each as `to_safe_line`; at least one."""
    unified = text.replace("\r\n", "\n").translate(_LINE_ENDS).expandtabs(4)
    return [to_safe_line(line) for line in unified.split("\n")]


def _to_visible(character: str) -> str:
    if " " <= character <= "~":
        return character
    if character < " ":
        return chr(0x2400 + ord(character))  # the pictures of control characters: ESC becomes ␛
    if character == "\x7f":
        return "\u2421"
    # Among the format characters (Cf) are those that make a text look as if it said something else.
    if unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in _JOINING:
        return "\ufffd"
    return character


def to_local_time(message: message_pb2.Message) -> datetime.datetime:
    """Returns when the message was stored, on this machine's clock."""
    return message.create_time.ToDatetime(tzinfo=datetime.UTC).astimezone()


def describe(message: message_pb2.Message, names: Mapping[str, str]) -> list[str]:
    """Returns the lines that show an entry of a log; none for kinds that are not known.

    Args:
        message: the entry.
        names: user name -> what to call the user, already safe.
    """
    stamp = f"{to_local_time(message):%H:%M}"
    sender = names.get(message.sender, to_safe_line(message.sender))
    match message.WhichOneof("entry"):
        case "message":
            first, *rest = to_safe_lines(_content_of(message))
            return [f"{stamp} {sender}: {first}", *(f"      {line}" for line in rest)]
        case "membership":
            return [f"{stamp} * {_describe_change(message, sender, names)}"]
        case _:
            return []


def _content_of(message: message_pb2.Message) -> str:
    parts = [message.text] if message.text else []
    if message.data:
        parts.append(f"[{len(message.data)} bytes of {message.content_type}]")
    parts += [f"[{attachment.name or 'file'}: {attachment.uri}]" for attachment in message.attachments]
    return "\n".join(parts)


def _describe_change(message: message_pb2.Message, sender: str, names: Mapping[str, str]) -> str:
    change = message.membership
    others = ", ".join(names.get(name, to_safe_line(name)) for name in change.members)
    actions = message_pb2.MembershipChange
    match change.action:
        case actions.ACTION_ADDED:
            return f"{sender} added {others}"
        case actions.ACTION_REMOVED if list(change.members) == [message.sender]:
            return f"{sender} left"
        case actions.ACTION_REMOVED:
            return f"{sender} removed {others}"
        case actions.ACTION_ROLE_CHANGED:
            role = message_pb2.MemberRole.Name(change.role).removeprefix("MEMBER_ROLE_").lower()
            return f"{sender} made {others} {role}"
        case actions.ACTION_CONVERSATION_DELETED:
            return f"{sender} deleted the conversation"
        case _:
            return f"{sender} changed the members"
