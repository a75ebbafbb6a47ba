"""What a message's content may be, and by what a repeat is told from another content."""

from itertools import combinations

import pytest
from google.protobuf.message import Message as ProtoMessage
from hypothesis import given
from hypothesis import strategies as st
from parley.v1 import message_pb2

from service.convert.drafts import Drafter, _find_place, conversation_ids_of
from service.domain.errors import ConversationNotFound, InvalidRequest, MessageTooLarge, ParleyError
from service.domain.hashes import RequestHasher
from service.domain.limits import MAX_MESSAGE_BYTES, MAX_TEXT_BYTES
from storage.records import Draft

HASHER = RequestHasher(b"key")

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
lines = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=20)
requests = st.builds(
    message_pb2.SendRequest,
    conversation_id=st.just("alice:bob"),
    text=texts,
    reply_to_seq=st.integers(0, 9),
    attributes=st.dictionaries(texts, texts, max_size=3),
    mentions=st.lists(st.sampled_from(["alice", "bob", "Cid"]), max_size=3),
    attachments=st.lists(st.builds(message_pb2.Attachment, uri=lines, size_bytes=st.integers(0, 9)), max_size=2),
)


def request(**fields: object) -> message_pb2.SendRequest:
    return message_pb2.SendRequest(conversation_id="alice:bob", **fields)


def draft_of(one: message_pb2.SendRequest) -> Draft:
    return Drafter("alice", HASHER).prepare(one)[0]


def message_of(one: message_pb2.SendRequest) -> message_pb2.Message:
    return message_pb2.Message.FromString(Drafter("alice", HASHER).prepare(one)[1])


def hash_of(one: message_pb2.SendRequest) -> bytes:
    return draft_of(one).request_hash


@given(requests, texts, texts)
def test_hash_does_not_depend_on_the_request_id(one, first_id, second_id):
    assert hash_of(with_(one, request_id=first_id[:16])) == hash_of(with_(one, request_id=second_id[:16]))


@given(requests)
def test_hash_does_not_depend_on_the_order_of_a_map(one):
    turned = message_pb2.SendRequest()
    turned.CopyFrom(one)
    turned.attributes.clear()
    for key in reversed(list(one.attributes)):
        turned.attributes[key] = one.attributes[key]
    assert hash_of(one) == hash_of(turned)
    assert draft_of(one).extras == draft_of(turned).extras


@given(requests, requests)
def test_other_content_has_another_hash(one, other):
    is_same = hash_of(one) == hash_of(other)
    seen = [(draft.text, draft.reply_to_seq, draft.extras) for draft in map(draft_of, (one, other))]
    assert is_same == (seen[0] == seen[1])


VARIANTS = [
    {"text": "a"},
    {"text": "b"},
    {"text": "a", "reply_to_seq": 1},
    {"text": "a", "data": b"1", "content_type": "x/y"},
    {"text": "a", "data": b"1", "content_type": "x/z"},
    {"text": "a", "data": b"2", "content_type": "x/y"},
    {"text": "a", "mentions": ["alice"]},
    {"text": "a", "mentions": ["alice", "bob"]},
    {"text": "a", "attributes": {"k": "v"}},
    {"text": "a", "attributes": {"k": "w"}},
    {"text": "a", "attachments": [message_pb2.Attachment(uri="u")]},
    {"text": "a", "attachments": [message_pb2.Attachment(uri="u", size_bytes=1)]},
    {"text": "a", "attachments": [message_pb2.Attachment(uri="u", name="n")]},
    {"text": "a", "attachments": [message_pb2.Attachment(uri="u", media_type="m")]},
    {"text": "a", "attachments": [message_pb2.Attachment(uri="u"), message_pb2.Attachment(uri="u")]},
]


def test_each_field_counts_for_the_hash():
    hashes = [hash_of(request(**fields)) for fields in VARIANTS]
    for (first, one), (second, other) in combinations(enumerate(hashes), 2):
        assert one != other, (VARIANTS[first], VARIANTS[second])
    tried = {name for fields in VARIANTS for name in fields}
    every = {field.name for field in message_pb2.SendRequest.DESCRIPTOR.fields}
    assert every - tried == {"conversation_id", "request_id"}, "a new field must count, too"


def test_key_counts_for_the_hash():
    one = request(text="a")
    assert hash_of(one) != Drafter("alice", RequestHasher(b"other")).prepare(one)[0].request_hash


@given(requests)
def test_message_shows_what_was_asked_for_and_draft_stores_it(one):
    draft, body = Drafter("alice", HASHER).prepare(one)
    message = message_pb2.Message.FromString(body)
    assert message.WhichOneof("entry") == "message"
    assert (message.text, message.reply_to_seq, message.sender) == (one.text, one.reply_to_seq, "alice")
    assert list(message.attachments) == list(one.attachments)
    assert dict(message.attributes) == dict(one.attributes)
    assert list(message.mentions) == sorted({name.lower() for name in one.mentions})
    assert draft.request_id == message.request_id != ""
    assert draft.size_bytes >= message.ByteSize()


@given(
    texts,
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=70),
    st.sampled_from(["alice:bob", "Bob:ALICE", "g" * 64, "eve:bob"]),
)
def test_short_way_gives_what_the_long_one_gives(text, request_id, conversation_id):
    one = message_pb2.SendRequest(conversation_id=conversation_id, text=text * 50, request_id=request_id)
    drafter = Drafter("alice", HASHER)
    results = []
    for way in (
        drafter.prepare,
        lambda one: drafter._prepare(one, _find_place("alice", conversation_id).conversation_id),
    ):
        try:
            draft, body = way(one)
            results.append((draft, message_pb2.Message.FromString(body)))
        except ParleyError as refusal:
            results.append(refusal.metadata)
    assert results[0] == results[1]


def test_conversations_that_are_remembered_are_bounded():
    drafter = Drafter("alice", HASHER)
    for nth in range(10_000):
        drafter.prepare(message_pb2.SendRequest(conversation_id=f"g{nth}", text="a", request_id="r"))
    assert _find_place.cache_info().currsize <= 8192


def test_request_without_an_id_gets_one_of_its_own():
    ids = {draft_of(request(text="a")).request_id for _ in range(100)}
    assert len(ids) == 100


def test_direct_conversation_of_others_looks_absent():
    with pytest.raises(ConversationNotFound):
        Drafter("eve", HASHER).prepare(request(text="a"))


@pytest.mark.parametrize("text", ["x" * MAX_TEXT_BYTES, "é" * (MAX_TEXT_BYTES // 2)])
def test_largest_text_fits_and_one_byte_more_does_not(text):
    assert draft_of(request(text=text)).text == text
    with pytest.raises(MessageTooLarge) as caught:
        draft_of(request(text=text + "x"))
    assert caught.value.metadata == {
        "field": "text",
        "size_bytes": str(MAX_TEXT_BYTES + 1),
        "max_bytes": str(MAX_TEXT_BYTES),
    }


def test_largest_request_fits_and_one_byte_more_does_not():
    rest = request(data=b"x" * 60_000, content_type="a/b").ByteSize() - 60_000
    largest = request(data=b"x" * (MAX_MESSAGE_BYTES - rest), content_type="a/b")
    assert largest.ByteSize() == MAX_MESSAGE_BYTES
    assert draft_of(largest).size_bytes > MAX_MESSAGE_BYTES
    with pytest.raises(MessageTooLarge, match="request"):
        draft_of(with_(largest, data=largest.data + b"x"))


ATTACHMENT = {"uri": "u"}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "text"),
        ({"mentions": ["alice"]}, "text"),
        ({"text": "a\0"}, "text"),
        ({"text": "a", "request_id": "r" * 65}, "request_id"),
        ({"text": "a", "reply_to_seq": -1}, "reply_to_seq"),
        ({"text": "a", "data": b"1"}, "content_type"),
        ({"text": "a", "content_type": "a/b"}, "data"),
        ({"data": b"1", "content_type": "a" * 129}, "content_type"),
        ({"data": b"1", "content_type": "a\0"}, "content_type"),
        ({"text": "a", "mentions": ["alice"] * 101}, "mentions"),
        ({"text": "a", "mentions": ["alice", "x"]}, "mentions[1]"),
        ({"text": "a", "attributes": {str(nth): "" for nth in range(33)}}, "attributes"),
        ({"text": "a", "attributes": {"": "v"}}, "attributes key"),
        ({"text": "a", "attributes": {"k" * 65: "v"}}, "attributes key"),
        ({"text": "a", "attributes": {"k": "v" * 1025}}, 'attributes["k"]'),
        ({"text": "a", "attributes": {"k": "\0"}}, 'attributes["k"]'),
        ({"text": "a", "attachments": [message_pb2.Attachment()]}, "attachments[0].uri"),
        ({"attachments": [message_pb2.Attachment(**ATTACHMENT)] * 33}, "attachments"),
        ({"attachments": [message_pb2.Attachment(uri="u" * 2049)]}, "attachments[0].uri"),
        ({"attachments": [message_pb2.Attachment(uri="u\0")]}, "attachments[0].uri"),
        ({"attachments": [message_pb2.Attachment(media_type="m" * 129, **ATTACHMENT)]}, "attachments[0].media_type"),
        ({"attachments": [message_pb2.Attachment(name="n" * 257, **ATTACHMENT)]}, "attachments[0].name"),
        ({"attachments": [message_pb2.Attachment(size_bytes=-1, **ATTACHMENT)]}, "attachments[0].size_bytes"),
    ],
)
def test_content_out_of_its_range_is_refused_by_name(fields, field):
    with pytest.raises(InvalidRequest) as caught:
        draft_of(request(**fields))
    assert caught.value.violations[0][0] == field


def test_all_fields_that_are_wrong_are_named_and_the_first_one_is_that_of_the_message():
    several = request(
        text="a\0",
        request_id="r" * 65,
        reply_to_seq=-1,
        data=b"1",
        attachments=[message_pb2.Attachment(uri="u\0", size_bytes=-1)],
        mentions=["alice", "x"],
        attributes={"k" * 65: "\0", "k": "\0"},
    )
    several.conversation_id = "no:such:id"
    with pytest.raises(InvalidRequest) as caught:
        draft_of(several)
    named = [field for field, _ in caught.value.violations]
    assert named[:-2] == [
        "conversation_id",
        "request_id",
        "text",
        "reply_to_seq",
        "content_type",
        "attachments[0].uri",
        "attachments[0].size_bytes",
        "mentions[1]",
    ]
    assert sorted(named[-2:]) == ["attributes key", 'attributes["k"]'], "in any order, as maps have none"
    assert caught.value.metadata["field"] == "conversation_id"


def test_what_is_too_large_is_said_alone_and_a_wrong_field_before_it_first():
    with pytest.raises(MessageTooLarge):
        draft_of(request(text="a" * (MAX_TEXT_BYTES + 1), reply_to_seq=-1))
    with pytest.raises(InvalidRequest, match="request_id"):
        draft_of(request(text="a" * (MAX_TEXT_BYTES + 1), request_id="r" * 65))


@pytest.mark.parametrize("fields", [{"data": b"1", "content_type": "a/b"}, {"attachments": [ATTACHMENT]}])
def test_text_may_be_empty_with_something_else(fields):
    assert message_of(request(**fields)).text == ""


@pytest.mark.parametrize("count", [0, 501])
def test_batch_has_1_to_500(count):
    drafter = Drafter("alice", HASHER)
    with pytest.raises(InvalidRequest):
        drafter.prepare_all([request()] * count)
    assert len(drafter.prepare_all([request()] * 500)) == 500


def test_requests_of_a_batch_are_checked_each_for_itself_and_keep_their_order():
    requests = [request(text="a"), request(text=""), request(text="b")]
    requests.append(message_pb2.SendRequest(conversation_id="bob:carol", text="c"))
    checked = Drafter("alice", HASHER).prepare_all(requests)
    assert [type(one) for one in checked] == [tuple, InvalidRequest, tuple, ConversationNotFound]
    assert [one[0].text for one in checked if isinstance(one, tuple)] == ["a", "b"]
    assert conversation_ids_of(checked) == ["alice:bob", "", "alice:bob", ""]


def with_(one: message_pb2.SendRequest, **fields: object) -> message_pb2.SendRequest:
    changed = message_pb2.SendRequest()
    changed.CopyFrom(one)
    for name, value in fields.items():
        assert not isinstance(value, ProtoMessage)
        setattr(changed, name, value)
    return changed
