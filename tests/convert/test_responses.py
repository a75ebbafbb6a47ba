"""Frames are joined by joining their bytes: every field of a ChatResponse is repeated, so nothing is overwritten."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from parley.v1 import chat_pb2, message_pb2

from service.convert import fast_wire, responses
from service.domain.errors import Internal, InvalidRequest
from storage.records import Outcome, Stored

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

texts = st.text(max_size=200)
seqs = st.integers(1, 2**63 - 1)
outcomes = st.one_of(
    seqs.map(lambda seq: Stored(Outcome.STORED, seq, NOW)),
    seqs.map(lambda seq: Stored(Outcome.DUPLICATE, seq, NOW)),
    st.just(InvalidRequest("text", "must not be empty")),
)
bodies_of_all_kinds = st.one_of(
    st.builds(
        lambda text, seq: fast_wire.stored_message(message_pb2.Message(text=text).SerializeToString(), seq, NOW),
        texts,
        seqs,
    ),
    st.builds(
        lambda number, found: responses.results(number, ["g"] * len(found), enumerate(found)),
        st.integers(1, 2**63 - 1),
        st.lists(outcomes, max_size=4),
    ),
    st.builds(responses.caught_up, st.lists(st.tuples(texts, seqs, st.booleans()), max_size=3)),
    st.builds(lambda number: responses.error(number, Internal("1")), st.integers(0, 9)),
    st.builds(lambda name, is_active: responses.typing("g", name, is_active=is_active), texts, st.booleans()),
    st.builds(responses.go_away, st.floats(0, 10)),
    st.builds(responses.heartbeat),
)


def fields_of(response: chat_pb2.ChatResponse) -> dict[str, list[object]]:
    return {field.name: list(getattr(response, field.name)) for field in chat_pb2.ChatResponse.DESCRIPTOR.fields}


@given(st.lists(bodies_of_all_kinds, max_size=8))
def test_joined_bytes_are_the_concatenation_of_their_fields(bodies):
    joined = fields_of(chat_pb2.ChatResponse.FromString(b"".join(bodies)))
    apart = [fields_of(chat_pb2.ChatResponse.FromString(body)) for body in bodies]
    assert joined == {name: [value for one in apart for value in one[name]] for name in joined}


def test_results_without_a_correlation_id_are_errors_alone():
    found = [Stored(Outcome.STORED, 1, NOW), InvalidRequest("text", "x"), Stored(Outcome.DUPLICATE, 2, NOW)]
    response = chat_pb2.ChatResponse.FromString(responses.results(0, ["a", "b", "c"], enumerate(found)))
    assert [(result.index, result.WhichOneof("outcome")) for result in response.results] == [(1, "error")]
    response = chat_pb2.ChatResponse.FromString(responses.results(5, ["a", "b", "c"], enumerate(found)))
    assert [result.accepted.conversation_id for result in response.results] == ["a", "", "c"]
    assert [result.accepted.deduplicated for result in response.results] == [False, False, True]
