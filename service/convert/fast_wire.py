"""The bytes of which a busy stream needs some for each message, put together by hand: protobuf's wire format.

A generated message costs two to six microseconds to fill and write, these a fraction of one. Nothing else is encoded
this way; `tests/convert/test_fast_wire.py` holds that the generated classes read exactly what they would have written.
Bytes of a ChatResponse can be joined (docs/architecture.md), and the fields of a message may come in any order.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from service.convert.timestamps import to_timestamp

# Tags: field number << 3 | wire type (0: varint, 2: length-delimited).
_RESPONSE_MESSAGES = b"\x1a"
_RESPONSE_RESULTS = b"\x12"
_SEND_RESPONSE_MESSAGE = b"\x0a"
_MESSAGE_CONVERSATION_ID = b"\x0a"
_MESSAGE_SEQ = b"\x10"
_MESSAGE_SENDER = b"\x1a"
_MESSAGE_TEXT = b"\x22"
_MESSAGE_REQUEST_ID = b"\x3a"
_MESSAGE_CREATE_TIME = b"\x42"
_MESSAGE_PLAIN = b"\xa2\x01\x00"  # field 20, empty
_RESULT_CORRELATION_ID = b"\x08"
_RESULT_INDEX = b"\x10"
_RESULT_ACCEPTED = b"\x1a"
_ACCEPTED_CONVERSATION_ID = b"\x0a"
_ACCEPTED_SEQ = b"\x10"
_ACCEPTED_CREATE_TIME = b"\x1a"
_ACCEPTED_DEDUPLICATED = b"\x20\x01"


@dataclass(slots=True)
class Encodings:
    """How often this process has made a message into bytes for streams."""

    count: int = 0


encodings = Encodings()

_ONE_BYTE = [bytes((value,)) for value in range(0x80)]


def varint(value: int) -> bytes:
    """A number of 0 or more (not checked), seven bits a byte, the lowest first."""
    if value < 0x80:
        return _ONE_BYTE[value]
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    if value < 0x200000:
        return bytes((value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14))
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def field_bytes(size: int) -> int:
    """What a field of `size` bytes takes, its tag of one byte and its length included; 0 for an empty one."""
    if size < 0x80:
        return size + 2 if size else 0
    return size + (3 if size < 0x4000 else 4 if size < 0x200000 else 5)


def message_place(conversation_id: str, sender: str) -> bytes:
    """The fields of a Message that all messages of one sender to one conversation have in common."""
    name, user = conversation_id.encode(), sender.encode()
    return b"".join(
        (_MESSAGE_CONVERSATION_ID, varint(len(name)), name, _MESSAGE_SENDER, varint(len(user)), user, _MESSAGE_PLAIN)
    )


def plain_message(place: bytes, text: bytes, request_id: bytes) -> bytes:
    """A Message with nothing but a text and a request id, neither empty; seq and time are still missing.

    Args:
        place: of `message_place`.
    """
    return b"".join(
        (place, _MESSAGE_TEXT, varint(len(text)), text, _MESSAGE_REQUEST_ID, varint(len(request_id)), request_id)
    )


def stored_message(message: bytes, seq: int, create_time: datetime) -> bytes:
    """A ChatResponse of one Message, which gets its seq and time.

    Args:
        message: without them.
    """
    encodings.count += 1
    return _in_place(_RESPONSE_MESSAGES, message, seq, create_time)


def send_response(message: bytes, seq: int, create_time: datetime) -> bytes:
    """A SendResponse of a message that was new; the arguments are those of `stored_message`."""
    return _in_place(_SEND_RESPONSE_MESSAGE, message, seq, create_time)


def _in_place(tag: bytes, message: bytes, seq: int, create_time: datetime) -> bytes:
    """A field of one Message, which gets its seq and time."""
    seq_bytes, time_bytes = varint(seq), _timestamp(create_time)
    size = len(message) + len(seq_bytes) + len(time_bytes) + 2
    return b"".join((tag, varint(size), message, _MESSAGE_SEQ, seq_bytes, _MESSAGE_CREATE_TIME, time_bytes))


def framed(message: bytes) -> bytes:
    """A ChatResponse of one Message that is complete."""
    encodings.count += 1
    return b"".join((_RESPONSE_MESSAGES, varint(len(message)), message))


def accepted_place(conversation_id: str) -> bytes:
    """The field of an Accepted that all of one conversation have in common."""
    name = conversation_id.encode()
    return b"".join((_ACCEPTED_CONVERSATION_ID, varint(len(name)), name))


def result_number(correlation_id: int) -> bytes:
    """The field of a SendResult that all results of one frame have in common; `correlation_id` may be negative."""
    return _RESULT_CORRELATION_ID + varint(correlation_id & 0xFFFF_FFFF_FFFF_FFFF)


def accepted_result(
    number: bytes, index: int, place: bytes, seq: int, create_time: datetime, *, is_deduplicated: bool
) -> bytes:
    """A ChatResponse of one SendResult that is Accepted.

    Args:
        number: of `result_number`.
        place: of `accepted_place`.
    """
    seq_bytes, time_bytes = varint(seq), _timestamp(create_time)
    repeat = _ACCEPTED_DEDUPLICATED if is_deduplicated else b""
    accepted_size = len(place) + len(seq_bytes) + len(time_bytes) + len(repeat) + 2
    accepted_length = varint(accepted_size)
    place_in_frame = _RESULT_INDEX + varint(index) if index else b""
    size = len(number) + len(place_in_frame) + len(accepted_length) + accepted_size + 1
    return b"".join(
        (
            _RESPONSE_RESULTS,
            varint(size),
            number,
            place_in_frame,
            _RESULT_ACCEPTED,
            accepted_length,
            place,
            _ACCEPTED_SEQ,
            seq_bytes,
            _ACCEPTED_CREATE_TIME,
            time_bytes,
            repeat,
        )
    )


@lru_cache(maxsize=64)  # the messages of a batch have one time
def _timestamp(time: datetime) -> bytes:
    """A Timestamp, its length before it."""
    body = to_timestamp(time).SerializeToString()
    return varint(len(body)) + body
