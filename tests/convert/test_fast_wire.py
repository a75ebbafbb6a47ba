"""What is encoded by hand is what the generated classes would have written."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.v1 import chat_pb2, message_pb2

from service.convert import fast_wire
from service.convert.timestamps import to_timestamp

# Around every length of a length, and what int64 can hold.
NUMBERS = [0, 1, 0x7F, 0x80, 0x3FFF, 0x4000, 0x1FFFFF, 0x200000, 2**35, 2**63 - 1]

names = st.text(min_size=1, max_size=140)
texts = st.one_of(st.text(min_size=1, max_size=300), st.integers(16_000, 16_500).map(lambda size: "x" * size))
seqs = st.one_of(st.sampled_from(NUMBERS[1:]), st.integers(1, 2**63 - 1))
times = st.datetimes(datetime(1971, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 # given below


@given(names, names, texts, names, seqs, times)
def test_stored_message_is_what_protobuf_reads(conversation_id, sender, text, request_id, seq, time):
    place = fast_wire.message_place(conversation_id, sender)
    message = fast_wire.plain_message(place, text.encode(), request_id.encode())
    body = fast_wire.stored_message(message, seq, time)
    expected = message_pb2.Message(
        conversation_id=conversation_id,
        sender=sender,
        text=text,
        request_id=request_id,
        seq=seq,
        create_time=to_timestamp(time),
        message=message_pb2.PlainMessage(),
    )
    assert chat_pb2.ChatResponse.FromString(body) == chat_pb2.ChatResponse(messages=[expected])
    assert chat_pb2.ChatResponse.FromString(fast_wire.framed(expected.SerializeToString())).messages[0] == expected
    assert len(body) == len(chat_pb2.ChatResponse(messages=[expected]).SerializeToString())
    response = message_pb2.SendResponse.FromString(fast_wire.send_response(message, seq, time))
    assert response == message_pb2.SendResponse(message=expected)


@given(
    st.one_of(st.sampled_from(NUMBERS), st.integers(-(2**63), -1)),
    st.integers(0, 499),
    names,
    seqs,
    times,
    st.booleans(),
)
def test_accepted_result_is_what_protobuf_reads(correlation_id, index, conversation_id, seq, time, is_deduplicated):
    body = fast_wire.accepted_result(
        fast_wire.result_number(correlation_id),
        index,
        fast_wire.accepted_place(conversation_id),
        seq,
        time,
        is_deduplicated=is_deduplicated,
    )
    expected = message_pb2.SendResult(
        correlation_id=correlation_id,
        index=index,
        accepted=message_pb2.Accepted(
            conversation_id=conversation_id, seq=seq, create_time=to_timestamp(time), deduplicated=is_deduplicated
        ),
    )
    assert chat_pb2.ChatResponse.FromString(body) == chat_pb2.ChatResponse(results=[expected])


@pytest.mark.parametrize("size", [*NUMBERS[:6], 300, 2**20])
def test_field_takes_as_many_bytes_as_it_is_said_to(size):
    text = "x" * size
    assert fast_wire.field_bytes(size) == message_pb2.SendRequest(text=text).ByteSize()
    assert len(fast_wire.framed(b"x" * size)) == max(2, fast_wire.field_bytes(size))


@pytest.mark.parametrize("value", NUMBERS)
def test_number_is_written_as_protobuf_does(value):
    written = message_pb2.Message(seq=value).SerializeToString()
    assert written == (b"\x10" + fast_wire.varint(value) if value else b"")
