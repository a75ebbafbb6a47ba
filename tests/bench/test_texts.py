"""Texts say who sent them, and any change of them shows."""

import pytest

from bench.texts import SHORTEST_BYTES, Texts

_TIME_US = 123_456_789_012


@pytest.mark.parametrize("size_bytes", [SHORTEST_BYTES, 100, 1000, 16_384])
def test_text_has_its_size_and_is_read_back(size_bytes: int):
    texts = Texts("1a2b3c4d", size_bytes)
    said = texts.make(texts.head(17), (1, 42), _TIME_US)
    assert [len(text.encode()) for text in said] == [size_bytes] * 2
    assert [texts.read(text) for text in said] == [(17, 1, _TIME_US), (17, 42, _TIME_US)]


def test_change_of_any_character_is_seen():
    texts = Texts("1a2b3c4d", 100)
    (text,) = texts.make(texts.head(17), (42,), _TIME_US)
    for at in range(len(text)):
        for other in "0179 _+xZ":
            changed = text[:at] + other + text[at + 1 :]
            if changed != text:
                assert texts.read(changed) != (17, 42, _TIME_US), at
    for changed in (text[:-1], text + "x", "", text[:30]):
        assert texts.read(changed) is None


def test_text_of_another_run_is_none_of_ours():
    texts, others = Texts("1a2b3c4d", 100), Texts("00000000", 100)
    assert texts.read(others.make(others.head(1), (1,), 5)[0]) is None
