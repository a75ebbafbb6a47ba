"""The claims of Parley's own tokens, and the principals that they mean."""

from typing import Any

import pytest

from service.auth.tokens import MAX_LIFE_SECONDS, to_claims, to_principal, to_seconds
from service.domain.call import Principal
from service.domain.errors import TokenInvalid
from tests.auth.rings import NOW


def claims(**changes: object) -> dict[str, Any]:
    made = to_claims("alice", login_id="l1", device_id="phone", scopes=["b", "a"], issue_time=NOW, expire_time=NOW + 60)
    return made | changes


def test_principal_is_that_of_the_claims() -> None:
    assert to_principal(claims()) == Principal("alice", "l1", "phone", NOW, NOW + 60, frozenset({"a", "b"}))


def test_device_and_scopes_may_be_missing() -> None:
    made = to_claims("alice", login_id="l1", device_id="", scopes=(), issue_time=NOW, expire_time=NOW + 60)
    assert set(made) == {"sub", "iat", "exp", "jti", "sid"}
    assert len(made["jti"]) == 16
    assert to_principal(made) == Principal("alice", "l1", "", NOW, NOW + 60)


@pytest.mark.parametrize("login_id", ["l", "l" * 64])
def test_login_id_may_be_short_or_long(login_id: str) -> None:
    assert to_principal(claims(sid=login_id)).login_id == login_id


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sid": "l" * 65}, "`sid` is too long"),
        ({"sid": ""}, "`sid` is too long or empty"),
        ({"sub": "ALICE"}, "`sub` is not a user name"),
        ({"sub": ""}, "`sub` or `device` is not a legal one"),
        ({"device": "d" * 129}, "`sub` or `device` is not a legal one"),
        ({"sub": 1}, "wrong type"),
        ({"device": 1}, "wrong type"),
        ({"scope": None}, "wrong type"),
    ],
)
def test_claims_that_are_not_good_are_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(TokenInvalid, match=why):
        to_principal(claims(**changes))


@pytest.mark.parametrize("value", [0, 0.5, NOW, 99_999_999_999])
def test_times_are_seconds(value: float) -> None:
    assert to_seconds(value) == value


@pytest.mark.parametrize("value", [-0.5, 1e11, 100_000_000_000, float("nan"), float("inf"), True, "1", None])
def test_other_times_are_refused(value: object) -> None:
    with pytest.raises(TokenInvalid, match="number of seconds"):
        to_seconds(value)


def test_longest_life_is_366_days() -> None:
    """The contract and docs/operations/keys.md say so."""
    assert MAX_LIFE_SECONDS == 31_622_400
