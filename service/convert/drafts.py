"""SendRequest -> what the writer stores and what readers get: every rule about a message's content is here.

Limits are in `service/domain/limits.py`.
"""

import json
import secrets
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypeVar

from parley.v1 import message_pb2

from service.convert import fast_wire
from service.domain import checks, limits
from service.domain.errors import ConversationNotFound, InvalidRequest, MessageTooLarge, ParleyError
from service.domain.field_checks import FieldChecks
from service.domain.hashes import RequestHasher
from service.domain.limits import MAX_REQUEST_ID_BYTES, MAX_TEXT_BYTES
from storage.records import Draft

# What an entry takes in a frame besides the request's own fields: seq, sender, time, framing.
_OVERHEAD_BYTES = 96
# Pairs of sender and conversation that are remembered, of some 600 bytes each.
_PLACES = 8192
_PLAIN = message_pb2.PlainMessage()

P = ParamSpec("P")
T = TypeVar("T")
# Calls a check with its arguments.
_Check: TypeAlias = Callable[..., Any]


# A request that passed its check: the draft for the database, and the bytes of the Message for readers, which lacks seq
# and time.
Prepared: TypeAlias = tuple[Draft, bytes]
# A request of several after its check: prepared, or why it is refused.
Checked: TypeAlias = Prepared | ParleyError


class _Place(NamedTuple):
    """What all messages of the sender to one conversation have in common."""

    conversation_id: str
    wire_bytes: int  # what the id takes in the request
    head: bytes


@lru_cache(maxsize=_PLACES)
def _find_place(sender: str, wanted_id: str) -> _Place:
    conversation_id = checks.to_conversation_id(wanted_id)
    members = checks.direct_members(conversation_id)
    if members and sender not in members:
        raise ConversationNotFound(conversation_id)
    return _Place(
        conversation_id,
        fast_wire.field_bytes(len(wanted_id)),  # checked above: it is ASCII
        fast_wire.message_place(conversation_id, sender),
    )


class Drafter:
    """Prepares the requests of one sender: checks them and turns them into what is stored and shown.

    Nearly all messages are a text with a request id. They take a short way, which gives what `_prepare` would give.
    """

    def __init__(self, sender: str, hasher: RequestHasher) -> None:
        self._sender = sender
        self._hasher = hasher

    def prepare(self, request: message_pb2.SendRequest) -> Prepared:
        """Checks a request.

        Raises:
            InvalidRequest: a field is out of its range.
            MessageTooLarge: the text, or everything together, is too large.
            ConversationNotFound: a direct conversation of others.
        """
        try:
            wanted_id = request.conversation_id
            place = _find_place(self._sender, wanted_id)
            text, request_id = request.text, request.request_id
            text_bytes, id_bytes = text.encode(), request_id.encode()
            size_bytes = request.ByteSize()
            if (
                text
                and 0 < len(id_bytes) <= MAX_REQUEST_ID_BYTES
                # Nothing else is in the request, not even a field that this version does not know.
                and size_bytes == place.wire_bytes + fast_wire.field_bytes(len(text_bytes)) + len(id_bytes) + 2
                and size_bytes <= MAX_TEXT_BYTES
                and "\0" not in text
                and "\0" not in request_id
            ):
                request_hash = self._hasher.digest_text(text_bytes)
                stored_bytes = size_bytes + _OVERHEAD_BYTES
                draft = Draft(place.conversation_id, self._sender, request_id, request_hash, stored_bytes, text)
                return draft, fast_wire.plain_message(place.head, text_bytes, id_bytes)
            return self._prepare(request, place.conversation_id)
        except InvalidRequest:
            with FieldChecks() as check:  # it is refused, and there is time to look at all of its fields
                check(checks.to_conversation_id, request.conversation_id)
                _check_content(request, check)
            raise

    def prepare_all(self, requests: Sequence[message_pb2.SendRequest]) -> list[Checked]:
        """Checks the requests of a batch or a frame, each for itself; keeps their order.

        Raises:
            InvalidRequest: there are none, or more than MAX_BATCH_REQUESTS.
        """
        if not 1 <= len(requests) <= limits.MAX_BATCH_REQUESTS:
            allowed = f"must have 1 to {limits.MAX_BATCH_REQUESTS} elements, not {len(requests)}"
            raise InvalidRequest("requests", allowed)
        checked: list[Checked] = []
        for request in requests:
            try:
                checked.append(self.prepare(request))
            except ParleyError as refusal:
                checked.append(refusal)
        return checked

    def _prepare(self, request: message_pb2.SendRequest, conversation_id: str) -> Prepared:
        size_bytes, checked = _check_content(request, _check_at_once)
        request_id = request.request_id or secrets.token_hex(12)
        message = message_pb2.Message(
            conversation_id=conversation_id,
            sender=self._sender,
            text=request.text,
            request_id=request_id,
            reply_to_seq=request.reply_to_seq,
            message=_PLAIN,
        )
        if request.data:
            message.data = request.data
            message.content_type = request.content_type
        extras = None
        if checked:
            extras = json.dumps(checked, ensure_ascii=False, sort_keys=True)
            if request.attachments:
                message.attachments.extend(request.attachments)
            if request.mentions:
                message.mentions.extend(checked["mentions"])
            if request.attributes:
                message.attributes.update(request.attributes)
        draft = Draft(
            conversation_id=conversation_id,
            sender=self._sender,
            request_id=request_id,
            request_hash=_hash(request, extras, self._hasher),
            size_bytes=size_bytes,
            text=request.text,
            data=request.data or None,
            content_type=request.content_type or None,
            reply_to_seq=request.reply_to_seq,
            extras=extras,
        )
        return draft, message.SerializeToString()


def conversation_ids_of(checked: Sequence[Checked]) -> list[str]:
    """Returns the conversation of each request, as it is kept; "" for those that are refused."""
    return ["" if isinstance(one, ParleyError) else one[0].conversation_id for one in checked]


def _check_at_once(check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Checks a field; the first one that is wrong ends the checks. The short form of FieldChecks."""
    return check(*args, **kwargs)


def _check_content(request: message_pb2.SendRequest, check: _Check) -> tuple[int, dict[str, Any]]:
    """Checks all fields but the conversation.

    Returns:
        About how many bytes the entry takes in a frame, and its extras as JSON values.

    Args:
        check: calls each check with its arguments: `_check_at_once`, or FieldChecks.
    """
    if request.request_id:
        check(checks.to_request_id, request.request_id)
    size_bytes = _check_sizes(request)
    check(_check_text, request)
    if request.reply_to_seq:
        check(checks.to_natural, request.reply_to_seq, "reply_to_seq")
    if request.data or request.content_type:
        check(_check_data, request)
    extras: dict[str, Any] = {}
    if request.attachments:
        extras["attachments"] = _to_attachments(request, check)
    if request.mentions:
        extras["mentions"] = check(
            checks.to_usernames, list(request.mentions), "mentions", max_count=limits.MAX_MENTIONS
        )
    if request.attributes:
        extras["attributes"] = _to_attributes(request, check)
    if not request.text:
        check(_check_presence, request)
    return size_bytes, extras


def _check_sizes(request: message_pb2.SendRequest) -> int:
    """Returns about what the entry takes in a frame."""
    size_bytes = request.ByteSize()
    if size_bytes > MAX_TEXT_BYTES:
        text_bytes = len(request.text.encode())
        if text_bytes > MAX_TEXT_BYTES:
            raise MessageTooLarge("text", text_bytes, MAX_TEXT_BYTES)
        if size_bytes > limits.MAX_MESSAGE_BYTES:
            raise MessageTooLarge("request", size_bytes, limits.MAX_MESSAGE_BYTES)
    return size_bytes + _OVERHEAD_BYTES


def _check_text(request: message_pb2.SendRequest) -> None:
    if "\0" in request.text:
        raise InvalidRequest("text", "must not contain NUL characters")


def _check_presence(request: message_pb2.SendRequest) -> None:
    if not (request.text or request.data or request.attachments):
        raise InvalidRequest("text", "must not be empty, unless there are data or attachments")


def _check_data(request: message_pb2.SendRequest) -> None:
    if not request.content_type:
        raise InvalidRequest("content_type", "must say what data is, for example application/octet-stream")
    if not request.data:
        raise InvalidRequest("data", "must not be empty when content_type is given")
    checks.to_line(request.content_type, "content_type", max_bytes=limits.MAX_CONTENT_TYPE_BYTES)


def _check_count(count: int, field: str, maximum: int) -> None:
    if count > maximum:
        raise InvalidRequest(field, f"must be at most {maximum}")


def _to_attachments(request: message_pb2.SendRequest, check: _Check) -> list[dict[str, Any]]:
    check(_check_count, len(request.attachments), "attachments", limits.MAX_ATTACHMENTS)
    return [_to_attachment(item, f"attachments[{index}]", check) for index, item in enumerate(request.attachments)]


def _to_attachment(item: message_pb2.Attachment, field: str, check: _Check) -> dict[str, Any]:
    check(checks.to_line, item.uri, f"{field}.uri", max_bytes=limits.MAX_ATTACHMENT_URI_BYTES, min_bytes=1)
    check(checks.to_line, item.media_type, f"{field}.media_type", max_bytes=limits.MAX_ATTACHMENT_TYPE_BYTES)
    check(checks.to_line, item.name, f"{field}.name", max_bytes=limits.MAX_ATTACHMENT_NAME_BYTES)
    check(checks.to_natural, item.size_bytes, f"{field}.size_bytes")
    return {"uri": item.uri, "media_type": item.media_type, "size_bytes": item.size_bytes, "name": item.name}


def _to_attributes(request: message_pb2.SendRequest, check: _Check) -> dict[str, str]:
    check(_check_count, len(request.attributes), "attributes", limits.MAX_ATTRIBUTES)
    for key, value in request.attributes.items():
        if check(checks.to_text, key, "attributes key", max_bytes=limits.MAX_ATTRIBUTE_KEY_BYTES, min_bytes=1):
            check(checks.to_text, value, f'attributes["{key}"]', max_bytes=limits.MAX_ATTRIBUTE_VALUE_BYTES)
    return dict(request.attributes)


def _hash(request: message_pb2.SendRequest, extras: str | None, hasher: RequestHasher) -> bytes:
    """The keyed hash by which a repeat is told from another content; the request id is not in it."""
    return hasher.digest(
        b"send",
        request.text.encode(),
        request.data,
        request.content_type.encode(),
        b"%d" % request.reply_to_seq,
        b"" if extras is None else extras.encode(),
    )
