"""What counts as the same, what as a difference, and what placeholders become."""

from typing import Any

import pytest

from conformance.matching import differences
from conformance.values import ValueMissing, Values, value_at


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (3, "3"),
        ("9007199254740993", "9007199254740993"),
        (False, False),
        (False, None),
        ({"a": 1}, {"a": "1", "b": 2}),
        ([{"a": 1}, {}], [{"a": 1}, {"b": 2}]),
        ("$any", "x"),
        ("$none", ""),
        ("$none", "0"),
        ("$none", None),
        ({"$match": "^a.c$"}, "abc"),
        ({"$least": 3}, "3"),
        ({"$count": 2}, [1, 2]),
        ({"$contains": [{"a": 1}]}, [{"a": 2}, {"a": 1}]),
    ],
)
def test_same(expected: Any, actual: Any) -> None:
    assert list(differences(expected, actual)) == []


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (3, "4"),
        ("9007199254740993", "9007199254740992"),
        (True, False),
        (False, True),
        (True, None),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, None),
        ([{}], []),
        ([], [{}]),
        ("$any", ""),
        ("$any", None),
        ("$any", "0"),
        ("$none", "x"),
        ({"$match": "^a.c$"}, "abd"),
        ({"$least": 3}, "2"),
        ({"$least": 3}, None),
        ({"$count": 2}, [1]),
        ({"$contains": [{"a": 1}]}, [{"a": 2}]),
        ({"$contains": [{"a": 1}]}, None),
    ],
)
def test_different(expected: Any, actual: Any) -> None:
    assert list(differences(expected, actual)) != []


def test_a_rule_that_is_none_is_said() -> None:
    with pytest.raises(ValueError, match=r"\$near"):
        list(differences({"$near": 3}, 3))


def test_placeholders_are_filled_in() -> None:
    values = Values({"alice": "alice-2", "bob": "a-bob"})
    values.save("seq", "9007199254740993")
    assert values.fill("${alice}") == "alice-2"
    assert values.fill("to ${alice}!") == "to alice-2!"
    assert values.fill("${direct:alice:bob}") == "a-bob:alice-2"
    assert values.fill("${seq+2}") == "9007199254740995"
    assert values.fill({"a": [{"$repeat": ["xy", 3]}]}) == {"a": ["xyxyxy"]}
    assert values.fill({"$each": [2, {"n": "${n}"}]}) == [{"n": "1"}, {"n": "2"}]
    assert values.fill("${id:a}") == values.fill("${id:a}") != values.fill("${id:b}")
    with pytest.raises(ValueMissing, match="carol"):
        values.fill("${carol}")


def test_paths_lead_into_answers() -> None:
    assert value_at({"a": [{"b": 5}]}, "a.0.b") == 5
    for path in ("a.1.b", "a.0.c", "a.x", "a.0.b.c"):
        with pytest.raises(ValueMissing):
            value_at({"a": [{"b": 5}]}, path)
