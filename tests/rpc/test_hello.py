"""What a hello asks for: defaults, bounds, and all fields that are out of their range at once."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from parley.v1 import chat_pb2

from service.domain.errors import InvalidRequest
from service.domain.limits import MAX_HELD_MESSAGES, MAX_WINDOW_MESSAGES
from service.rpc.chat.hello import to_terms
from storage.records import AckMode, DeviceMode

MANUAL = {"ack_mode": chat_pb2.ACK_MODE_MANUAL}


def position(conversation_id: str, seq: int) -> chat_pb2.Position:
    return chat_pb2.Position(conversation_id=conversation_id, seq=seq)


def test_empty_hello_asks_for_the_defaults():
    terms = to_terms(chat_pb2.Hello())
    assert (terms.device_id, terms.no_echo, terms.mode) == ("", False, DeviceMode())
    assert (terms.positions, terms.epoch, terms.starts_at_latest, terms.watches_receipts) == ({}, 0, False, False)
    assert (terms.window, terms.heartbeat_seconds, terms.ack_deadline_seconds) == (None, None, None)


def test_everything_that_a_hello_may_say_is_taken():
    hello = chat_pb2.Hello(
        device_id="phone",
        no_echo=True,
        positions=[position("Bob:alice", 3), position("g", 0)],
        epoch=2,
        start=chat_pb2.START_LATEST,
        window_messages=5,
        window_bytes=700,
        heartbeat=Duration(seconds=1, nanos=500_000_000),
        watch_receipts=True,
    )
    terms = to_terms(hello)
    assert (terms.device_id, terms.no_echo, terms.epoch, terms.starts_at_latest) == ("phone", True, 2, True)
    assert terms.positions == {"alice:bob": 3, "g": 0}
    assert terms.window is not None
    assert (terms.window.max_messages, terms.window.max_bytes) == (5, 700)
    assert (terms.heartbeat_seconds, terms.watches_receipts) == (1.5, True)


def test_manual_acks_have_a_window_and_a_deadline_of_their_own():
    hello = chat_pb2.Hello(**MANUAL, ordered=True, no_echo=True, window_messages=9, ack_deadline=Duration(seconds=30))
    terms = to_terms(hello)
    assert terms.mode == DeviceMode(AckMode.MANUAL, is_ordered=True, no_echo=True)
    assert (terms.window, terms.manual_window, terms.ack_deadline_seconds) == (None, 9, 30.0)
    assert to_terms(chat_pb2.Hello(**MANUAL)).manual_window == MAX_HELD_MESSAGES


def test_windows_are_bounded_also_when_the_client_asks_for_larger_ones():
    assert to_terms(chat_pb2.Hello(**MANUAL, window_messages=2**62)).manual_window == MAX_HELD_MESSAGES
    for fields in ({"window_messages": 2**62}, {"window_bytes": 2**62}):
        window = to_terms(chat_pb2.Hello(**fields)).window
        assert window is not None
        assert window.max_messages == MAX_WINDOW_MESSAGES


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"heartbeat": Duration(nanos=999_999_999)}, ["heartbeat"]),
        ({"heartbeat": Duration(seconds=600, nanos=1)}, ["heartbeat"]),
        ({"positions": [position("g", 1)] * 10_001}, ["positions"]),
        ({"positions": [position("g", -1)]}, ["positions.seq"]),
        ({"positions": [position("a:b:c", 1)]}, ["positions.conversation_id"]),
        ({"epoch": -1}, ["epoch"]),
        ({"device_id": "x" * 65}, ["device_id"]),
        ({"ack_mode": 9}, ["ack_mode"]),
        ({"ordered": True}, ["ordered"]),
        ({"ack_deadline": Duration(seconds=30)}, ["ack_deadline"]),
        ({"ack_deadline": Duration()}, ["ack_deadline"]),
        (MANUAL | {"ack_deadline": Duration(nanos=1)}, ["ack_deadline"]),
        (MANUAL | {"ack_deadline": Duration(seconds=3600, nanos=1)}, ["ack_deadline"]),
        (MANUAL | {"positions": [position("g", 1)]}, ["positions"]),
        (MANUAL | {"window_bytes": 1}, ["window_bytes"]),
        ({"start": 9}, ["start"]),
        ({"window_messages": -1}, ["window_messages"]),
        ({"window_bytes": -1}, ["window_bytes"]),
        (
            {"heartbeat": Duration(), "epoch": -1, "device_id": "\n", "ack_mode": 9, "start": 9, "window_bytes": -1},
            ["heartbeat", "epoch", "device_id", "ack_mode", "start", "window_bytes"],
        ),
    ],
)
def test_fields_out_of_their_range_are_all_named(fields: dict[str, Any], names: list[str]):
    with pytest.raises(InvalidRequest) as caught:
        to_terms(chat_pb2.Hello(**fields))
    assert [field for field, _ in caught.value.violations] == names
