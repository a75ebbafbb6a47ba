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
