"""The binary frame of a conversation's bus channel: items as ready bytes under a header that the hub can read. Pure.

    version u8 | type u8 | conversation id length u8 | count u16 | first seq u64 | conversation id
    count times: length u32 | kind u8 | origin u64        (kind and origin: see Item)
    the bodies, one after the other

The body of an entry is the bytes of one ChatResponse, so the hub trims, splits and joins runs without decoding them. A
frame of another version is only a hint to read PostgreSQL. `bus_messages.py` has the messages that use these frames.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

from service.convert.items import Item

VERSION = 1
_HEADER = struct.Struct("!BBBHQ")
_ITEM = struct.Struct("!IBQ")


class FrameType(IntEnum):
    """What the items of a frame are."""

    ENTRIES = 1
    TYPING = 2
    RECEIPTS = 3


class Frame(NamedTuple):
    """A decoded frame."""

    type: int
    conversation_id: str
    items: list[Item]


class UnknownMessage(Exception):
    """The bytes are of another version, or no bus message at all."""


def pack(frame_type: FrameType, conversation_id: str, items: list[Item]) -> bytes:
    """Encodes items whose seqs follow each other: entries, one typing event, or receipts (numbered from 0)."""
    name = conversation_id.encode()
    head = _HEADER.pack(VERSION, frame_type, len(name), len(items), items[0].seq)
    if len(items) == 1:  # the most frequent, in half the time
        _, body, kind, origin = items[0]
        return b"".join((head, name, _ITEM.pack(len(body), kind, origin), body))
    table = b"".join([_ITEM.pack(len(item.body), item.kind, item.origin) for item in items])
    return b"".join([head, name, table, *[item.body for item in items]])


def last_seq(payload: bytes) -> int:
    """Reads the last seq of a frame of entries without decoding it; 0 for other frames and for unreadable ones."""
    if len(payload) < _HEADER.size:
        return 0
    version, frame_type, _, count, first_seq = _HEADER.unpack_from(payload)
    if version != VERSION or frame_type != FrameType.ENTRIES:
        return 0
    return int(first_seq) + int(count) - 1


def unpack(payload: bytes) -> Frame:
    """Decodes a frame.

    Raises:
        UnknownMessage: the frame is of another version, cut short, or not one of these.
    """
    try:
        version, frame_type, name_length, count, seq = _HEADER.unpack_from(payload)
        if version != VERSION:
            raise UnknownMessage(f"version {version}")
        table_at = _HEADER.size + name_length
        conversation_id = payload[_HEADER.size : table_at].decode()
        body_at = table_at + count * _ITEM.size
        items = []
        for length, kind, origin in _ITEM.iter_unpack(payload[table_at:body_at]):
            items.append(Item(seq, payload[body_at : body_at + length], kind, origin))
            body_at += length
            seq += 1
    except (struct.error, ValueError) as error:
        raise UnknownMessage(str(error)) from error
    if body_at != len(payload) or len(items) != count or not items:
        raise UnknownMessage("wrong length")
    return Frame(frame_type, conversation_id, items)
