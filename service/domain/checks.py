"""What names, ids and texts from outside must look like. Pure; every refusal is InvalidRequest.

Conversation ids: a direct one is its two user names, sorted, with a colon between; a group's never has a colon.
"""

import re
import unicodedata

from service.domain.errors import InvalidRequest
from service.domain.field_checks import FieldChecks
from service.domain.limits import MAX_CONVERSATION_ID_BYTES, MAX_DEVICE_ID_BYTES, MAX_REQUEST_ID_BYTES

_USERNAME = re.compile(r"[a-z0-9][a-z0-9_.-]{2,31}")
_USERNAME_RULE = "must be 3 to 32 of a-z 0-9 _ . -, beginning with a letter or digit"
_GROUP_ID = re.compile(r"[a-z0-9]{1,64}")
_DEVICE_ID = re.compile(r"[ -~]{0,64}")
_NUL = "\0"
_NOT_IN_LINES = {"Cc", "Zl", "Zp"}
# They make what follows read backwards; marks that languages need (U+200E, U+200F, U+061C) are not among them.
_DIRECTION_OVERRIDES = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def to_username(value: str, field: str = "username") -> str:
    """Returns the name as it is kept: in lower case.

    Only ASCII capitals are folded: a name that another script's case rules would turn into a legal one is refused.
    """
    name = value.lower() if value.isascii() else value
    if not _USERNAME.fullmatch(name):
        raise InvalidRequest(field, _USERNAME_RULE)
    return name


def to_usernames(values: list[str], field: str, *, max_count: int, min_count: int = 0) -> list[str]:
    """Returns the names as they are kept, each once, sorted; a refusal names all that are not legal."""
    if not min_count <= len(values) <= max_count:
        raise InvalidRequest(field, f"must have {min_count} to {max_count} user names, not {len(values)}")
    with FieldChecks() as check:
        names = {check(to_username, value, f"{field}[{index}]") for index, value in enumerate(values)}
    return sorted(names)


def to_conversation_id(value: str, field: str = "conversation_id") -> str:
    """Returns the id as it is kept; for a direct one the user names sorted and in lower case.

    Notes to self ("alice:alice") are a direct conversation with one member.
    """
    if ":" not in value:
        if not _GROUP_ID.fullmatch(value):
            raise InvalidRequest(field, 'must be a group\'s id as the server made it, or "name:name" for a direct one')
        return value
    parts = value.split(":")
    if len(parts) != 2 or len(value) > MAX_CONVERSATION_ID_BYTES:
        raise InvalidRequest(field, 'must be two user names with one colon between, for example "alice:bob"')
    return ":".join(sorted(to_username(part, field) for part in parts))


def direct_members(conversation_id: str) -> tuple[str, ...]:
    """Returns the users of a direct conversation's id, each once; () for a group's."""
    if ":" not in conversation_id:
        return ()
    return tuple(sorted(set(conversation_id.split(":"))))


def to_device_id(value: str, field: str = "device_id") -> str:
    """Returns the device id; "" stays."""
    if not _DEVICE_ID.fullmatch(value):
        raise InvalidRequest(field, f"must be up to {MAX_DEVICE_ID_BYTES} printable ASCII characters")
    return value


def to_request_id(value: str, field: str = "request_id") -> str:
    """Returns the request id; "" stays."""
    return to_text(value, field, max_bytes=MAX_REQUEST_ID_BYTES)


def to_text(value: str, field: str, *, max_bytes: int, min_bytes: int = 0) -> str:
    """Returns a text that fits and that PostgreSQL can hold (no NUL)."""
    size = len(value.encode())
    if not min_bytes <= size <= max_bytes:
        raise InvalidRequest(field, f"must take {min_bytes} to {max_bytes} bytes, not {size}")
    if _NUL in value:
        raise InvalidRequest(field, "must not contain NUL characters")
    return value


def to_line(value: str, field: str, *, max_bytes: int, min_bytes: int = 0) -> str:
    """Returns a text for one line that people read: without control characters, line ends and direction overrides."""
    text = to_text(value, field, max_bytes=max_bytes, min_bytes=min_bytes)
    if not text.isascii() or not text.isprintable():
        for character in text:
            if unicodedata.category(character) in _NOT_IN_LINES or character in _DIRECTION_OVERRIDES:
                raise InvalidRequest(field, "must be one line without control characters")
    return text


def to_natural(value: int, field: str) -> int:
    """Returns a number that is 0 or more."""
    if value < 0:
        raise InvalidRequest(field, "must not be negative")
    return value


def to_page_size(value: int, field: str, *, default: int, maximum: int) -> int:
    """Returns how many elements a page has: 0 is the default, more than the maximum is the maximum."""
    return min(to_natural(value, field) or default, maximum)
