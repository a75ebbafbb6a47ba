"""What a hello with manual acks asks for, and what a nack says: checks of their fields. Pure."""

from collections.abc import Collection

from google.protobuf.duration_pb2 import Duration
from parley.v1 import chat_pb2

from service.domain import checks
from service.domain.errors import InvalidRequest
from service.domain.limits import (
    MAX_ACK_DEADLINE_SECONDS,
    MAX_HELD_MESSAGES,
    MAX_NACK_REASON_BYTES,
    MAX_NACKS,
    MAX_POSITIONS,
    MAX_RETRY_DELAY_SECONDS,
    MIN_ACK_DEADLINE_SECONDS,
)
from storage.postgres.devices.deliveries import Nack
from storage.records import AckMode, DeviceMode


def to_mode(hello: chat_pb2.Hello) -> DeviceMode:
    """Returns how the device acknowledges.

    Raises:
        InvalidRequest: the mode is none, or has fields of the other one.
    """
    match hello.ack_mode:
        case chat_pb2.ACK_MODE_UNSPECIFIED | chat_pb2.ACK_MODE_CUMULATIVE:
            for field, is_given in (("ordered", hello.ordered), ("ack_deadline", hello.HasField("ack_deadline"))):
                if is_given:
                    raise InvalidRequest(field, "goes with ACK_MODE_MANUAL alone")
            return DeviceMode()
        case chat_pb2.ACK_MODE_MANUAL:
            if hello.positions:
                raise InvalidRequest("positions", "must be empty with ACK_MODE_MANUAL, the server keeps them")
            if hello.window_bytes:
                raise InvalidRequest("window_bytes", "goes with ACK_MODE_CUMULATIVE alone")
            return DeviceMode(AckMode.MANUAL, is_ordered=hello.ordered, no_echo=hello.no_echo)
        case _:
            raise InvalidRequest("ack_mode", "must be ACK_MODE_CUMULATIVE or ACK_MODE_MANUAL")


def to_manual_window(hello: chat_pb2.Hello) -> int:
    """Returns how many messages a stream with manual acks may hold."""
    return min(hello.window_messages or MAX_HELD_MESSAGES, MAX_HELD_MESSAGES)


def to_ack_deadline(hello: chat_pb2.Hello, default_seconds: float) -> float:
    """Returns how long the stream has for each ack, in seconds."""
    if not hello.HasField("ack_deadline"):
        return default_seconds
    seconds = _to_seconds(hello.ack_deadline)
    if not MIN_ACK_DEADLINE_SECONDS <= seconds <= MAX_ACK_DEADLINE_SECONDS:
        raise InvalidRequest("ack_deadline", "must be 1 s to 3600 s")
    return seconds


def to_acks(positions: Collection[chat_pb2.Position]) -> list[tuple[str, int]]:
    """Returns exactly the (conversation, seq) of an ack frame, each once."""
    if not 1 <= len(positions) <= MAX_POSITIONS:
        raise InvalidRequest("positions", f"must have 1 to {MAX_POSITIONS} elements, not {len(positions)}")
    return list(dict.fromkeys(_to_key(position.conversation_id, position.seq, "positions") for position in positions))


def to_nacks(frame: chat_pb2.NackFrame, owner: int) -> list[Nack]:
    """Returns the nacks of a frame; of two for one message the later one.

    Args:
        owner: the session that must hold them.
    """
    if not 1 <= len(frame.nacks) <= MAX_NACKS:
        raise InvalidRequest("nacks", f"must have 1 to {MAX_NACKS} elements, not {len(frame.nacks)}")
    found: dict[tuple[str, int], Nack] = {}
    for nack in frame.nacks:
        conversation_id, seq = _to_key(nack.conversation_id, nack.seq, "nacks")
        reason = checks.to_text(nack.reason, "nacks.reason", max_bytes=MAX_NACK_REASON_BYTES)
        found[conversation_id, seq] = Nack(conversation_id, seq, owner, reason, _to_retry_delay(nack))
    return list(found.values())


def _to_retry_delay(nack: chat_pb2.Nack) -> float | None:
    if not nack.HasField("retry_delay"):
        return None
    seconds = _to_seconds(nack.retry_delay)
    if not 0 <= seconds <= MAX_RETRY_DELAY_SECONDS:
        raise InvalidRequest("nacks.retry_delay", "must be 0 s to 3600 s")
    return seconds


def _to_key(conversation_id: str, seq: int, field: str) -> tuple[str, int]:
    if seq < 1:
        raise InvalidRequest(f"{field}.seq", "must be the seq of a message")
    return checks.to_conversation_id(conversation_id, f"{field}.conversation_id"), seq


def _to_seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
