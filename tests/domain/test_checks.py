"""Names and ids from outside: what is let in, and that what was let in once is let in again as it is."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.domain import checks
from service.domain.errors import InvalidRequest

usernames = st.from_regex(r"\A[a-zA-Z0-9][a-zA-Z0-9_.-]{2,31}\Z")
group_ids = st.from_regex(r"\A[a-z0-9]{1,64}\Z")
anything = st.one_of(st.text(), st.text("aZ0_.-: \n\0é", max_size=40))


@given(usernames)
def test_legal_name_is_kept_in_lower_case_and_then_stays(value):
    name = checks.to_username(value)
    assert name == value.lower()
    assert checks.to_username(name) == name


@given(anything)
@example("\N{KELVIN SIGN}elvin")  # "kelvin" in lower case
@example("name\n")
@example("\N{FULLWIDTH LATIN SMALL LETTER N}ame")
def test_name_is_legal_or_refused(value):
    try:
        name = checks.to_username(value)
    except InvalidRequest:
        return
    assert value.isascii()
    assert 3 <= len(name) <= 32
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.-")
    assert name[0].isalnum()


@pytest.mark.parametrize(
    "value", ["", "ab", "a" * 33, "-ab", ".ab", "_ab", "a b", "al:ice", "алиса", "alice ", "alice\0", "ALİCE"]
)
def test_names_that_are_not_legal_are_refused(value):
    with pytest.raises(InvalidRequest):
        checks.to_username(value)


@given(st.lists(usernames, max_size=6))
def test_several_names_come_back_sorted_and_once(values):
    names = checks.to_usernames(values, "members", max_count=6)
    assert names == sorted({value.lower() for value in values})


def test_the_name_that_is_wrong_is_told_by_its_place():
    with pytest.raises(InvalidRequest) as caught:
        checks.to_usernames(["alice", "x"], "members", max_count=5)
    assert caught.value.violations[0][0] == "members[1]"


@given(usernames, usernames)
def test_direct_id_is_the_same_from_both_sides_and_stays(one, other):
    conversation_id = checks.to_conversation_id(f"{one}:{other}")
    assert conversation_id == checks.to_conversation_id(f"{other}:{one}")
    assert conversation_id == checks.to_conversation_id(conversation_id)
    assert set(checks.direct_members(conversation_id)) == {one.lower(), other.lower()}
    assert len(conversation_id.encode()) <= checks.MAX_CONVERSATION_ID_BYTES


@given(group_ids)
def test_group_id_stays_and_is_no_direct_one(value):
    assert checks.to_conversation_id(value) == value
    assert checks.direct_members(value) == ()


@given(anything)
@example("group\n")
@example("alice:bobby\n")
def test_conversation_id_is_legal_or_refused(value):
    try:
        conversation_id = checks.to_conversation_id(value)
    except InvalidRequest:
        return
    assert checks.to_conversation_id(conversation_id) == conversation_id
    assert conversation_id.isascii()
    assert conversation_id.isprintable()
    assert " " not in conversation_id
    members = checks.direct_members(conversation_id)
    assert all(checks.to_username(name) == name for name in members)


@given(st.one_of(anything, st.text(st.characters(min_codepoint=32, max_codepoint=127), max_size=70)))
def test_device_id_stays_as_it_is_or_is_refused(value):
    is_legal = len(value) <= 64 and all(" " <= character <= "~" for character in value)
    if is_legal:
        assert checks.to_device_id(value) == value
    else:
        with pytest.raises(InvalidRequest):
            checks.to_device_id(value)


@given(st.text(max_size=80))
def test_request_id_stays_as_it_is_or_is_refused(value):
    if len(value.encode()) <= 64 and "\0" not in value:
        assert checks.to_request_id(value) == value
    else:
        with pytest.raises(InvalidRequest):
            checks.to_request_id(value)


@given(st.integers(-(2**31), 2**31 - 1))
def test_page_size_has_a_default_a_maximum_and_no_sign(value):
    if value < 0:
        with pytest.raises(InvalidRequest):
            checks.to_page_size(value, "limit", default=20, maximum=500)
    else:
        size = checks.to_page_size(value, "limit", default=20, maximum=500)
        assert size == (20 if value == 0 else min(value, 500))


@pytest.mark.parametrize(
    "value", ["a:bob", "alice:bob:cid", "alice:", ":", "alice:" + "b" * 33, "alice:bob:" + "c" * 80]
)
def test_direct_ids_that_are_not_two_names_are_refused_as_what_they_are(value):
    with pytest.raises(InvalidRequest) as refusal:
        checks.to_conversation_id(value, "positions.conversation_id")
    assert refusal.value.violations[0][0] == "positions.conversation_id"


def test_count_of_names_is_between_the_bounds():
    assert checks.to_usernames(["alice"], "members", min_count=1, max_count=1) == ["alice"]
    assert checks.to_usernames([], "members", max_count=1) == []
    for values, bounds in ((["alice", "bobby"], {}), ([], {"min_count": 1})):
        with pytest.raises(InvalidRequest, match=r"members: must have \d to 1 user names, not \d"):
            checks.to_usernames(values, "members", max_count=1, **bounds)


@pytest.mark.parametrize("value", ["ab", "é", "abcd", "éé"])
def test_text_of_two_to_four_bytes_is_taken(value):
    assert checks.to_text(value, "text", min_bytes=2, max_bytes=4) == value


@pytest.mark.parametrize(
    ("value", "why"), [("a", "must take 2 to 4 bytes, not 1"), ("ééé", "not 6"), ("a\0b", "NUL"), ("", "not 0")]
)
def test_other_texts_are_refused(value, why):
    with pytest.raises(InvalidRequest, match=why):
        checks.to_text(value, "text", min_bytes=2, max_bytes=4)


@pytest.mark.parametrize("value", ["", "a line", "zeile mit ä", "\u200e語\u061c", "👩\u200d🚀"])
def test_line_is_taken(value):
    assert checks.to_line(value, "title", max_bytes=30) == value


@pytest.mark.parametrize(
    "value", ["two\nlines", "tab\t", "\x7f", "ä\x85", "a\u2028b", "a\u2029b", "a\u202eb", "\u2066a"]
)
def test_what_is_no_line_is_refused(value):
    with pytest.raises(InvalidRequest, match="must be one line"):
        checks.to_line(value, "title", max_bytes=30)


def test_natural_number_has_no_sign():
    assert (checks.to_natural(0, "seq"), checks.to_natural(7, "seq")) == (0, 7)
    with pytest.raises(InvalidRequest, match="must not be negative"):
        checks.to_natural(-1, "seq")
