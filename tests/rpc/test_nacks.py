"""The fields of a nack frame: each message once, and what is out of its range refused."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from parley.v1 import chat_pb2

from service.domain.errors import InvalidRequest
from service.domain.limits import MAX_NACK_REASON_BYTES, MAX_NACKS
from service.rpc.chat.nacks import to_nacks
from storage.postgres.devices.deliveries import Nack


def nack(seq: int, conversation_id: str = "g", **fields: Any) -> chat_pb2.Nack:
    return chat_pb2.Nack(conversation_id=conversation_id, seq=seq, **fields)


def convert(*nacks: chat_pb2.Nack) -> list[Nack]:
    return to_nacks(chat_pb2.NackFrame(nacks=nacks), 7)


def test_of_two_nacks_for_one_message_the_later_counts() -> None:
    delay = Duration(seconds=2, nanos=500_000_000)
    nacks = convert(nack(3, reason="first"), nack(1), nack(3, "h"), nack(3, reason="last", retry_delay=delay))
    assert [(one.conversation_id, one.seq, one.reason, one.delay_seconds, one.owner) for one in nacks] == [
        ("g", 3, "last", 2.5, 7),
        ("g", 1, "", None, 7),
        ("h", 3, "", None, 7),
    ]


def test_frame_of_none_or_too_many_is_refused() -> None:
    for count in (0, MAX_NACKS + 1):
        with pytest.raises(InvalidRequest, match="nacks"):
            convert(*(nack(nth + 1) for nth in range(count)))
    assert len(convert(*(nack(nth + 1) for nth in range(MAX_NACKS)))) == MAX_NACKS


@pytest.mark.parametrize("seconds", [-0.5, 3600.5])
def test_delay_out_of_its_range_is_refused(seconds: float) -> None:
    delay = Duration()
    delay.FromNanoseconds(int(seconds * 1e9))
    with pytest.raises(InvalidRequest, match=r"nacks\.retry_delay"):
        convert(nack(1, retry_delay=delay))


@pytest.mark.parametrize("seconds", [0, 3600])
def test_ends_of_the_range_are_taken(seconds: int) -> None:
    (one,) = convert(nack(1, retry_delay=Duration(seconds=seconds)))
    assert one.delay_seconds == seconds


@pytest.mark.parametrize("bad", [nack(0), nack(-1), nack(1, ""), nack(1, "no such:\n")])
def test_what_can_be_no_message_is_refused(bad: chat_pb2.Nack) -> None:
    with pytest.raises(InvalidRequest, match=r"nacks\.(seq|conversation_id)"):
        convert(nack(1), bad)


def test_reason_is_bounded() -> None:
    convert(nack(1, reason="x" * MAX_NACK_REASON_BYTES))
    with pytest.raises(InvalidRequest, match=r"nacks\.reason"):
        convert(nack(1, reason="x" * (MAX_NACK_REASON_BYTES + 1)))
