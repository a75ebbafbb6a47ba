"""What goes over the bus comes out as it went in, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.convert.items import Item
from service.delivery import bus_frames
from service.delivery.bus_frames import FrameType, UnknownMessage

ids = st.text(st.characters(codec="utf-8"), max_size=60).filter(lambda text: len(text.encode()) <= 65)
contents = st.lists(
    st.tuples(st.binary(max_size=40), st.integers(0, 255), st.integers(0, 2**64 - 1)), min_size=1, max_size=8
)
first_seqs = st.integers(1, 2**63 - 1)


def run_of(first_seq: int, parts: list[tuple[bytes, int, int]]) -> list[Item]:
    return [Item(first_seq + nth, *part) for nth, part in enumerate(parts)]


@given(st.sampled_from(FrameType), ids, first_seqs, contents)
def test_what_was_packed_is_unpacked(frame_type, conversation_id, first_seq, parts):
    items = run_of(first_seq, parts)
    frame = bus_frames.unpack(bus_frames.pack(frame_type, conversation_id, items))
    assert (frame.type, frame.conversation_id, frame.items) == (frame_type, conversation_id, items)


@given(ids, first_seqs, contents)
def test_last_seq_is_told_without_decoding_and_of_entries_only(conversation_id, first_seq, parts):
    items = run_of(first_seq, parts)
    assert bus_frames.last_seq(bus_frames.pack(FrameType.ENTRIES, conversation_id, items)) == items[-1].seq
    assert bus_frames.last_seq(bus_frames.pack(FrameType.TYPING, conversation_id, items)) == 0


@given(ids, first_seqs, contents, st.data())
def test_cut_short_or_with_something_behind_is_refused(conversation_id, first_seq, parts, data):
    payload = bus_frames.pack(FrameType.ENTRIES, conversation_id, run_of(first_seq, parts))
    length = data.draw(st.integers(0, len(payload) - 1))
    for broken in (payload[:length], payload + b"x"):
        with pytest.raises(UnknownMessage):
            bus_frames.unpack(broken)


@given(ids, first_seqs, contents, st.integers(0, 255).filter(lambda version: version != bus_frames.VERSION))
def test_another_version_is_refused_and_has_no_last_seq(conversation_id, first_seq, parts, version):
    payload = bytes([version]) + bus_frames.pack(FrameType.ENTRIES, conversation_id, run_of(first_seq, parts))[1:]
    with pytest.raises(UnknownMessage, match=f"version {version}"):
        bus_frames.unpack(payload)
    assert bus_frames.last_seq(payload) == 0


@given(st.binary(max_size=80))
def test_any_bytes_are_a_frame_or_refused(payload):
    bus_frames.last_seq(payload)
    try:
        frame = bus_frames.unpack(payload)
    except UnknownMessage:
        return
    assert frame.items


def test_empty_frame_is_refused():
    payload = bus_frames.pack(FrameType.ENTRIES, "g", [Item(1, b"x", 1, 0)])
    with pytest.raises(UnknownMessage):
        bus_frames.unpack(payload[:3] + b"\0\0" + payload[5:14])
