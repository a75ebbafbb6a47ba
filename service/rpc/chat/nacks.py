"""The fields of a nack frame: checks and conversion. Pure."""

from parley.v1 import chat_pb2

from service.convert.durations import to_seconds
from service.domain import checks
from service.domain.errors import InvalidRequest
from service.domain.limits import MAX_NACK_REASON_BYTES, MAX_NACKS, MAX_RETRY_DELAY_SECONDS
from storage.postgres.devices.deliveries import Nack


def to_nacks(frame: chat_pb2.NackFrame, owner: int) -> list[Nack]:
    """Returns the nacks of a frame; of two for one message the later one.

    Args:
        owner: the session that must hold the messages.

    Raises:
        InvalidRequest: there are none or too many, or a field is out of its range.
    """
    if not 1 <= len(frame.nacks) <= MAX_NACKS:
        raise InvalidRequest("nacks", f"must have 1 to {MAX_NACKS} elements, not {len(frame.nacks)}")
    found: dict[tuple[str, int], Nack] = {}
    for nack in frame.nacks:
        if nack.seq < 1:
            raise InvalidRequest("nacks.seq", "must be the seq of a message")
        conversation_id = checks.to_conversation_id(nack.conversation_id, "nacks.conversation_id")
        reason = checks.to_text(nack.reason, "nacks.reason", max_bytes=MAX_NACK_REASON_BYTES)
        found[conversation_id, nack.seq] = Nack(conversation_id, nack.seq, owner, reason, _to_retry_delay(nack))
    return list(found.values())


def _to_retry_delay(nack: chat_pb2.Nack) -> float | None:
    if not nack.HasField("retry_delay"):
        return None
    seconds = to_seconds(nack.retry_delay)
    if not 0 <= seconds <= MAX_RETRY_DELAY_SECONDS:
        raise InvalidRequest("nacks.retry_delay", "must be 0 s to 3600 s")
    return seconds
