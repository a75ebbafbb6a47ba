"""Positions that clients acknowledge or begin at: the checks of `Position`, wherever a request has some."""

from collections.abc import Collection, Iterable

from parley.v1 import chat_pb2

from service.domain import checks
from service.domain.errors import InvalidRequest
from service.domain.field_checks import FieldChecks
from service.domain.limits import MAX_POSITIONS


def from_position(position: chat_pb2.Position, *, is_exact: bool = False) -> tuple[str, int]:
    """Returns (conversation, seq) of a position.

    Args:
        is_exact: the position names one message, and not all up to it.

    Raises:
        InvalidRequest: the seq is negative or names no message, or the id is no conversation's.
    """
    if is_exact and position.seq < 1:
        raise InvalidRequest("positions.seq", "must be the seq of a message")
    seq = checks.to_natural(position.seq, "positions.seq")
    return checks.to_conversation_id(position.conversation_id, "positions.conversation_id"), seq


def from_positions(positions: Collection[chat_pb2.Position], *, is_exact: bool = False) -> list[tuple[str, int]]:
    """Returns (conversation, seq) of each position, in order.

    Args:
        is_exact: as of `from_position`.

    Raises:
        InvalidRequest: there are none or too many, or one of them is refused.
    """
    if not 1 <= len(positions) <= MAX_POSITIONS:
        raise InvalidRequest("positions", f"must have 1 to {MAX_POSITIONS} elements, not {len(positions)}")
    return [from_position(position, is_exact=is_exact) for position in positions]


def highest(positions: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Returns the highest seq of each conversation, in the order in which the conversations first come."""
    seqs: dict[str, int] = {}
    for conversation_id, seq in positions:
        seqs[conversation_id] = max(seq, seqs.get(conversation_id, 0))
    return seqs


def from_ack(request: chat_pb2.AckRequest) -> tuple[list[tuple[str, int]], str]:
    """Returns the positions that the request acknowledges, and its device; "" for none.

    Raises:
        InvalidRequest: fields are out of their range.
    """
    with FieldChecks() as check:
        positions = check(from_positions, request.positions)
        check(checks.to_natural, request.epoch, "epoch")
        device_id = check(checks.to_device_id, request.device_id)
    return positions, device_id
