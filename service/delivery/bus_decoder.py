"""Decodes what comes over the bus into the classes of `bus_messages.py`. Pure."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from service.delivery import bus_frames
from service.delivery.bus_frames import FrameType, UnknownMessage
from service.delivery.bus_messages import (
    CONVERSATION,
    PRESENCE,
    RECEIPTS_CHANNEL,
    REVOCATIONS_CHANNEL,
    USER,
    WORKERS_CHANNEL,
    BusMessage,
    DeliveriesReturned,
    EntriesStored,
    LoginsEnded,
    MembershipsChanged,
    MovedReceipt,
    PresenceChanged,
    ReceiptsMoved,
    ReceiptsWatched,
    TypingChanged,
    WorkerAnnounced,
)
from storage.records import Revocation
from storage.redis.presence import PresenceRecord

_MAX_ANNOUNCED_CHARS = 200


def decode(kind: str, name: str, payload: bytes) -> BusMessage | None:
    """Decodes a message; None when it came on a channel that this release does not know.

    Args:
        kind: what stands before the colon of the channel.
        name: what stands behind it.

    Raises:
        UnknownMessage: the payload is of another version, or none of the channel's messages.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        return None
    try:
        return decoder(name, payload)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise UnknownMessage(str(error)) from error


def _conversation(name: str, payload: bytes) -> BusMessage:
    frame_type, _, items = bus_frames.unpack(payload)
    if frame_type == FrameType.ENTRIES:
        return EntriesStored(name, items)
    if frame_type == FrameType.TYPING:
        return TypingChanged(name, items[0].body.decode(), bool(items[0].seq), items[0].origin)
    if frame_type == FrameType.RECEIPTS:
        return ReceiptsMoved(name, [_to_moved(item.body) for item in items])
    raise UnknownMessage(f"frame type {frame_type}")


def _to_moved(body: bytes) -> MovedReceipt:
    end = 1 + body[0]
    return MovedReceipt(body[1:end].decode(), body[end:])


def _user(name: str, payload: bytes) -> BusMessage:
    return DeliveriesReturned(name, payload.decode()) if payload else MembershipsChanged(name)


def _presence(name: str, payload: bytes) -> BusMessage:
    is_online, seen = json.loads(payload)
    return PresenceChanged(name, PresenceRecord(is_online, datetime.fromisoformat(seen) if seen else None))


def _receipts(_: str, __: bytes) -> BusMessage:
    return ReceiptsWatched()


def _revocations(_: str, payload: bytes) -> BusMessage:
    value: Any = json.loads(payload)
    return LoginsEnded(
        Revocation(
            revocation_id=int(value["id"]),
            username=str(value["username"]),
            login_id=None if value["login_id"] is None else str(value["login_id"]),
            revoke_time=datetime.fromisoformat(value["revoke_time"]),
            expire_time=datetime.fromisoformat(value["expire_time"]),
        )
    )


def _workers(_: str, payload: bytes) -> BusMessage:
    value: Any = json.loads(payload)
    return WorkerAnnounced(*(str(value[key])[:_MAX_ANNOUNCED_CHARS] for key in ("worker", "database", "host")))


_DECODERS: dict[str, Callable[[str, bytes], BusMessage]] = {
    CONVERSATION: _conversation,
    USER: _user,
    PRESENCE: _presence,
    RECEIPTS_CHANNEL: _receipts,
    REVOCATIONS_CHANNEL: _revocations,
    WORKERS_CHANNEL: _workers,
}
