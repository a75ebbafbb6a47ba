from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import page_tokens
from service.domain.errors import InvalidRequest

times = st.datetimes(timezones=st.just(UTC))
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
