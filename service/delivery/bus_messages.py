"""What goes over the bus: entries of one conversation as ready bytes, under a header that a hub can read. Pure.

    version u8 | type u8 | conversation id length u8 | count u16 | first seq u64 | conversation id
    count times: length u32 | kind u8 | origin u64        (kind and origin: see Item)
    the bodies, one after the other

The bodies are bytes of a ChatResponse each, so a hub can trim, split and join without decoding. A version that a hub
does not know is only a hint to read PostgreSQL.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from service.convert.items import Item

VERSION = 1
_HEADER = struct.Struct("!BBBHQ")
_ITEM = struct.Struct("!IBQ")


class FrameType(IntEnum):
    """What a bus message carries."""

    ENTRIES = 1
    TYPING = 2
    RECEIPTS = 3


@dataclass(frozen=True, slots=True)
class BusFrame:
    """A decoded bus message."""

    type: FrameType
    conversation_id: str
    items: list[Item]


class UnknownFrame(Exception):
    """The bytes are of another version, or no bus message at all."""


def pack(frame_type: FrameType, conversation_id: str, items: list[Item]) -> bytes:
    """Encodes entries with rising seqs and no gap, one typing event, or receipts (numbered from 0)."""
    name = conversation_id.encode()
    head = _HEADER.pack(VERSION, frame_type, len(name), len(items), items[0].seq)
    table = b"".join([_ITEM.pack(len(item.body), item.kind, item.origin) for item in items])
    return b"".join([head, name, table, *[item.body for item in items]])


def last_seq(payload: bytes) -> int:
    """Reads the last seq of a bus message of entries without decoding it; 0 when it has none or can't be read."""
    if len(payload) < _HEADER.size:
        return 0
    version, frame_type, _, count, first_seq = _HEADER.unpack_from(payload)
    if version != VERSION or frame_type != FrameType.ENTRIES:
        return 0
    return int(first_seq) + int(count) - 1


def unpack(payload: bytes) -> BusFrame:
    """Decodes a bus message.

    Raises:
        UnknownFrame: of another version, cut short, or not ours.
    """
    try:
        version, frame_type, name_length, count, first_seq = _HEADER.unpack_from(payload)
        if version != VERSION:
            raise UnknownFrame(f"version {version}")
        at = _HEADER.size
        conversation_id = payload[at : at + name_length].decode()
        at += name_length
        body_at = at + count * _ITEM.size
        items = []
        for nth in range(count):
            length, kind, origin = _ITEM.unpack_from(payload, at + nth * _ITEM.size)
            items.append(Item(first_seq + nth, payload[body_at : body_at + length], kind, origin))
            body_at += length
        if body_at != len(payload) or not items:
            raise UnknownFrame("wrong length")
        return BusFrame(FrameType(frame_type), conversation_id, items)
    except (struct.error, ValueError) as error:
        raise UnknownFrame(str(error)) from error
