from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import page_tokens
from service.domain.errors import InvalidRequest

times = st.datetimes(timezones=st.just(UTC))
CONVERSATIONS, DEAD_LETTERS = "AQAGYYm42mwFYWxpY2U6Ym9i", "AwAAAAAAAAEC"
usernames = st.from_regex(r"\A[a-z0-9][a-z0-9_.-]{2,31}\Z")
conversation_ids = st.one_of(
    st.from_regex(r"\A[a-z0-9]{1,64}\Z"), st.tuples(usernames, usernames).map(lambda pair: ":".join(sorted(pair)))
)


@given(times, conversation_ids)
def test_conversations_token_gives_back_its_key(last_time: datetime, conversation_id: str):
    token = page_tokens.to_conversations_token(last_time, conversation_id)
    assert page_tokens.from_conversations_token(token) == (last_time, conversation_id)


@given(usernames)
def test_members_token_gives_back_its_key(username: str):
    assert page_tokens.from_members_token(page_tokens.to_members_token(username)) == username


@given(st.integers(1, 2**63 - 1))
def test_dead_letters_token_gives_back_its_key(dead_letter_id: int):
    token = page_tokens.to_dead_letters_token(dead_letter_id)
    assert page_tokens.from_dead_letters_token(token) == dead_letter_id
    with pytest.raises(InvalidRequest):
        page_tokens.from_dead_letters_token(page_tokens.to_members_token("alice"))


def test_no_token_is_the_first_page():
    assert page_tokens.from_dead_letters_token("") == 0
    assert page_tokens.from_conversations_token("") is None
    assert page_tokens.from_members_token("") == ""


@given(st.one_of(st.text(min_size=1), st.binary(min_size=1, max_size=40).map(page_tokens._encode)))
def test_anything_else_is_refused_or_is_the_token_that_it_gives(text: str):
    try:
        key = page_tokens.from_conversations_token(text)
    except InvalidRequest:
        pass
    else:
        assert key is not None
        assert page_tokens.to_conversations_token(*key) == text
    try:
        username = page_tokens.from_members_token(text)
    except InvalidRequest:
        pass
    else:
        assert page_tokens.to_members_token(username) == text


@pytest.mark.parametrize(
    "token", ["!", "AQ", "AQ==", "a" * 10_000, page_tokens.to_members_token("alice"), "\N{SNOWMAN}", "A" * 12]
)
def test_what_is_no_token_of_this_list_is_refused(token: str):
    with pytest.raises(InvalidRequest, match="page_token"):
        page_tokens.from_conversations_token(token)


def test_time_that_no_clock_shows_is_refused():
    token = page_tokens._encode(page_tokens._CONVERSATIONS + (2**63 - 1).to_bytes(8, "big") + b"abc")
    with pytest.raises(InvalidRequest):
        page_tokens.from_conversations_token(token)


def test_other_spelling_of_a_token_is_refused():
    token = page_tokens.to_members_token("alic")  # its last character has two bits that nothing is read from
    assert page_tokens.from_members_token(token) == "alic"
    for other in (token[:-1] + chr(ord(token[-1]) + 1), token + "="):
        with pytest.raises(InvalidRequest):
            page_tokens.from_members_token(other)


def test_tokens_stay_as_they_are():
    """Clients may come back with a token of an earlier version, or of a worker that is older."""
    last_time = datetime(2026, 12, 1, 3, 0, 0, 5, tzinfo=UTC)
    assert page_tokens.to_conversations_token(last_time, "alice:bob") == CONVERSATIONS
    assert page_tokens.from_conversations_token(CONVERSATIONS) == (last_time, "alice:bob")
    assert page_tokens.to_members_token("alice") == "AmFsaWNl"
    assert page_tokens.to_dead_letters_token(258) == DEAD_LETTERS


@pytest.mark.parametrize(
    "key", [b"Alice", b"al ice", b"", b"\xff\xfe\xfd", b"a" * 33], ids=["case", "blank", "empty", "bytes", "long"]
)
def test_key_that_no_page_ends_with_is_refused_by_the_tokens_name(key: bytes):
    members = page_tokens._encode(page_tokens._MEMBERS + key)
    with pytest.raises(InvalidRequest, match="page_token"):
        page_tokens.from_members_token(members)
    conversations = page_tokens._encode(page_tokens._CONVERSATIONS + bytes(8) + (key if len(key) < 30 else key * 3))
    with pytest.raises(InvalidRequest, match="page_token"):
        page_tokens.from_conversations_token(conversations)


@pytest.mark.parametrize("size_bytes", [0, 7, 9])
def test_dead_letter_id_of_another_size_is_refused(size_bytes: int):
    with pytest.raises(InvalidRequest, match="page_token"):
        page_tokens.from_dead_letters_token(page_tokens._encode(page_tokens._DEAD_LETTERS + bytes(size_bytes)))


def test_made_up_dead_letter_id_is_one_that_the_database_can_compare():
    assert page_tokens.from_dead_letters_token(page_tokens._encode(page_tokens._DEAD_LETTERS + b"\xff" * 8)) == -1
    assert page_tokens.from_dead_letters_token(page_tokens.to_dead_letters_token(-5)) == -5


def test_conversation_that_is_written_otherwise_is_refused():
    token = page_tokens._encode(page_tokens._CONVERSATIONS + bytes(8) + b"bob:alice")
    with pytest.raises(InvalidRequest, match="page_token"):
        page_tokens.from_conversations_token(token)
