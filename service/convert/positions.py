"""Positions that clients acknowledge or begin at: the checks of `Position`, wherever a request has some."""

from collections.abc import Collection

from parley.v1 import chat_pb2

from service.domain import checks
from service.domain.errors import InvalidRequest
from service.domain.field_checks import FieldChecks
from service.domain.limits import MAX_POSITIONS


def from_position(position: chat_pb2.Position) -> tuple[str, int]:
    """Returns (conversation, seq) of a position.

    Raises:
        InvalidRequest: the seq is negative, or the id is no conversation's.
    """
    seq = checks.to_natural(position.seq, "positions.seq")
    return checks.to_conversation_id(position.conversation_id, "positions.conversation_id"), seq


def from_positions(positions: Collection[chat_pb2.Position]) -> dict[str, int]:
    """Returns the highest seq of each conversation, in the order in which the conversations first come.

    Raises:
        InvalidRequest: there are none or too many, or one of them is refused.
    """
    if not 1 <= len(positions) <= MAX_POSITIONS:
        raise InvalidRequest("positions", f"must have 1 to {MAX_POSITIONS} elements, not {len(positions)}")
    highest: dict[str, int] = {}
    for position in positions:
        conversation_id, seq = from_position(position)
        highest[conversation_id] = max(seq, highest.get(conversation_id, 0))
    return highest


def from_ack(request: chat_pb2.AckRequest) -> tuple[dict[str, int], str]:
    """Returns the highest seq of each conversation that the request acknowledges, and its device; "" for none.

    Raises:
        InvalidRequest: fields are out of their range.
    """
    with FieldChecks() as check:
        wanted = check(from_positions, request.positions)
        check(checks.to_natural, request.epoch, "epoch")
        device_id = check(checks.to_device_id, request.device_id)
    return wanted, device_id
