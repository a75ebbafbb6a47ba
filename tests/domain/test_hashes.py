from hypothesis import assume, given
from hypothesis import strategies as st

from service.domain.hashes import RequestHasher

part_lists = st.lists(st.binary(max_size=12), max_size=5)


@given(part_lists, part_lists)
def test_other_parts_or_other_divisions_give_other_hashes(one: list[bytes], other: list[bytes]):
    hasher = RequestHasher(b"k" * 32)
    assume(one != other)
    assert hasher.digest(*one) != hasher.digest(*other)
    assert hasher.digest(*one) == hasher.digest(*one)
    assert len(hasher.digest(*one)) == 16


def test_division_counts():
    hasher = RequestHasher(b"k" * 32)
    assert hasher.digest(b"ab", b"c") != hasher.digest(b"a", b"bc")
    assert hasher.digest(b"a") != hasher.digest(b"a", b"")


def test_key_counts():
    assert RequestHasher(b"k" * 32).digest(b"a") != RequestHasher(b"l" * 32).digest(b"a")


@given(st.binary(max_size=40))
def test_text_alone_has_the_hash_of_a_send_with_nothing_else(text: bytes):
    hasher = RequestHasher(b"k" * 32)
    assert hasher.digest_text(text) == hasher.digest(b"send", text, b"", b"", b"0", b"")


def test_hashes_stay_as_they_are():
    """The database has hashes that earlier versions made, and compares them with today's."""
    hasher = RequestHasher(b"k" * 32)
    assert hasher.digest(b"a", b"bc").hex() == "439c6b9db79e9e7a9e8c50696415bd70"
    assert hasher.digest_text(b"hello").hex() == "ae4b936684c08f70110deb4fb37dc878"
