"""Page tokens: the key of a page's last element, opaque to clients. Pure; what is not a token is InvalidRequest.

A token is the url-safe base64, without padding, of one byte for the list and its format, and the key. Tokens are not
signed: a made-up one only names another place in the caller's own list.
"""

import base64
import binascii
from datetime import UTC, datetime, timedelta

from service.domain import checks
from service.domain.errors import InvalidRequest

_CONVERSATIONS = b"\x01"
_MEMBERS = b"\x02"
_DEAD_LETTERS = b"\x03"
_TIME_BYTES = 8
_ID_BYTES = 8
_MAX_TOKEN_LENGTH = 256
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALLOWED = "must be empty or the next_page_token of the page before"


def to_conversations_token(last_time: datetime, conversation_id: str) -> str:
    """Returns the token of the page that follows this conversation in ListConversations."""
    microseconds = (last_time - _EPOCH) // timedelta(microseconds=1)
    return _encode(_CONVERSATIONS + microseconds.to_bytes(_TIME_BYTES, "big", signed=True) + conversation_id.encode())


def from_conversations_token(token: str) -> tuple[datetime, str] | None:
    """Returns (last_time, conversation_id) of the page before; None for "", the first page."""
    if not token:
        return None
    key = _decode(token, _CONVERSATIONS)
    try:
        microseconds = int.from_bytes(key[:_TIME_BYTES], "big", signed=True)
        last_time = _EPOCH + timedelta(microseconds=microseconds)
        conversation_id = key[_TIME_BYTES:].decode("ascii")
        if checks.to_conversation_id(conversation_id) != conversation_id:
            raise InvalidRequest("page_token", _ALLOWED)
    except (OverflowError, UnicodeDecodeError, InvalidRequest) as error:
        raise InvalidRequest("page_token", _ALLOWED) from error
    return last_time, conversation_id


def to_members_token(username: str) -> str:
    """Returns the token of the page that follows this member in ListMembers."""
    return _encode(_MEMBERS + username.encode())


def from_members_token(token: str) -> str:
    """Returns the last user name of the page before; "" for "", the first page."""
    if not token:
        return ""
    key = _decode(token, _MEMBERS)
    try:
        username = key.decode("ascii")
        if checks.to_username(username) != username:
            raise InvalidRequest("page_token", _ALLOWED)
    except (UnicodeDecodeError, InvalidRequest) as error:
        raise InvalidRequest("page_token", _ALLOWED) from error
    return username


def to_dead_letters_token(dead_letter_id: int) -> str:
    """Returns the token of the page that follows this one in ListDeadLetters."""
    return _encode(_DEAD_LETTERS + dead_letter_id.to_bytes(_ID_BYTES, "big", signed=True))


def from_dead_letters_token(token: str) -> int:
    """Returns the last id of the page before; 0 for "", the first page."""
    if not token:
        return 0
    key = _decode(token, _DEAD_LETTERS)
    if len(key) != _ID_BYTES:
        raise InvalidRequest("page_token", _ALLOWED)
    return int.from_bytes(key, "big", signed=True)


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def _decode(token: str, prefix: bytes) -> bytes:
    """Returns what follows the prefix in a token that is written exactly as `_encode` writes it."""
    if len(token) > _MAX_TOKEN_LENGTH or not token.isascii():
        raise InvalidRequest("page_token", _ALLOWED)
    try:
        content = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise InvalidRequest("page_token", _ALLOWED) from error
    if not content.startswith(prefix) or _encode(content) != token:
        raise InvalidRequest("page_token", _ALLOWED)
    return content[len(prefix) :]
