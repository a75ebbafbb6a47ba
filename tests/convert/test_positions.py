"""Positions of requests: what is refused, and what several positions of one conversation come to."""

import pytest
from parley.v1 import chat_pb2

from service.convert.positions import from_ack, from_position, from_positions, highest
from service.domain.errors import InvalidRequest
from service.domain.limits import MAX_POSITIONS


def position(conversation_id: str, seq: int) -> chat_pb2.Position:
    return chat_pb2.Position(conversation_id=conversation_id, seq=seq)


def field_of(refused: pytest.ExceptionInfo[InvalidRequest]) -> list[str]:
    return [field for field, _ in refused.value.violations]


def test_positions_keep_their_order_and_their_repeats():
    positions = [position("g", 2), position("Bob:alice", 0), position("g", 1)]
    assert from_positions(positions) == [("g", 2), ("alice:bob", 0), ("g", 1)]
    assert list(highest(from_positions(positions)).items()) == [("g", 2), ("alice:bob", 0)]


@pytest.mark.parametrize("is_exact", [False, True])
@pytest.mark.parametrize(("conversation_id", "seq", "field"), [("g", -1, "seq"), ("a:b:c", 1, "conversation_id")])
def test_bad_position_is_refused_by_its_field(conversation_id, seq, field, is_exact):
    with pytest.raises(InvalidRequest) as caught:
        from_position(position(conversation_id, seq), is_exact=is_exact)
    assert field_of(caught) == [f"positions.{field}"]


def test_position_that_must_name_a_message_has_a_seq():
    assert from_position(position("g", 0)) == ("g", 0)
    with pytest.raises(InvalidRequest, match="must be the seq of a message") as caught:
        from_position(position("g", 0), is_exact=True)
    assert field_of(caught) == ["positions.seq"]
    assert from_positions([position("g", 1)] * 2, is_exact=True) == [("g", 1)] * 2


@pytest.mark.parametrize("count", [0, MAX_POSITIONS + 1])
def test_there_must_be_some_and_not_too_many(count):
    with pytest.raises(InvalidRequest) as caught:
        from_positions([position("g", 1)] * count)
    assert field_of(caught) == ["positions"]
    assert len(from_positions([position("g", 1)] * MAX_POSITIONS)) == MAX_POSITIONS


def test_ack_names_all_its_bad_fields():
    assert from_ack(chat_pb2.AckRequest(positions=[position("g", 1)], device_id="d")) == ([("g", 1)], "d")
    with pytest.raises(InvalidRequest) as caught:
        from_ack(chat_pb2.AckRequest(positions=[position("a:b:c", 1)], epoch=-1, device_id="\n"))
    assert field_of(caught) == ["positions.conversation_id", "epoch", "device_id"]
