"""Tokens that are made: what they say, for how long, and with which key."""

from pathlib import Path

import jwt
import pytest

from service.auth.key_rotation import rotate_keys
from service.auth.keys import ensure_keys_file, load_keys
from service.auth.tokens import MAX_LIFE_SECONDS
from tests.auth.rings import NOW, private_jwk, public_jwk, ring, secret_jwk, signer, verifier

KEYS = ring()


def test_minted_token_speaks_for_its_user_and_login() -> None:
    token = signer(KEYS).mint("alice", login_id="l1", device_id="phone", now=NOW)
    principal = verifier(KEYS).verify(token.text)
    assert (principal.username, principal.login_id, principal.device_id) == ("alice", "l1", "phone")
    assert principal.issue_time == NOW
    assert principal.expire_time == token.expire_time == NOW + 900


def test_header_and_claims_are_those_of_the_contract() -> None:
    token = signer(KEYS).mint("alice", login_id="l1", now=NOW).text
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "kid": "k1", "typ": "at+jwt"}
    body = jwt.decode(token, options={"verify_signature": False})
    assert set(body) == {"iss", "aud", "sub", "iat", "exp", "jti", "sid"}


@pytest.mark.parametrize("algorithm", ["HS256", "ES256", "EdDSA", "RS256"])
def test_each_algorithm_signs_and_verifies(algorithm: str) -> None:
    jwk = private_jwk(algorithm)
    token = signer(ring(jwk)).mint("alice", login_id="l1", now=NOW).text
    assert verifier(ring(jwk)).verify(token).username == "alice"
    if algorithm != "HS256":
        assert verifier(ring(public_jwk(jwk), secret_jwk("k2"))).verify(token).username == "alice"


def test_scopes_of_a_token_come_out_as_they_went_in_and_others_have_none() -> None:
    signing = signer(KEYS)
    token = signing.mint("alice", login_id="l1", now=NOW, scopes=["dead_letters", "more"]).text
    assert verifier(KEYS).verify(token).scopes == {"dead_letters", "more"}
    assert verifier(KEYS).verify(signing.mint("alice", login_id="l1", now=NOW).text).scopes == set()


def test_life_beyond_the_longest_can_not_be_minted() -> None:
    with pytest.raises(ValueError, match="lives up to"):
        signer(KEYS).mint("alice", login_id="l1", now=NOW, life_seconds=MAX_LIFE_SECONDS + 1)


def test_claims_and_their_order_stay_as_they_are() -> None:
    token = signer(KEYS).mint("alice", login_id="l1", device_id="phone", scopes=["b", "a"], now=NOW + 1e-7)
    body = jwt.decode(token.text, options={"verify_signature": False})
    assert len(body.pop("jti")) == 16
    assert list(body.items()) == [
        ("iss", "parley"),
        ("aud", "parley"),
        ("sub", "alice"),
        ("iat", NOW),
        ("exp", NOW + 900),
        ("sid", "l1"),
        ("device", "phone"),
        ("scope", "a b"),
    ]


def test_no_two_tokens_are_alike() -> None:
    signing = signer(KEYS)
    assert len({signing.mint("alice", login_id="l1", now=NOW).text for _ in range(3)}) == 3


@pytest.mark.parametrize("life_seconds", [0, -1])
def test_life_of_nothing_can_not_be_minted(life_seconds: float) -> None:
    with pytest.raises(ValueError, match="lives up to"):
        signer(KEYS).mint("alice", login_id="l1", now=NOW, life_seconds=life_seconds)


def test_longest_life_can_be_minted_and_is_accepted() -> None:
    token = signer(KEYS).mint("alice", login_id="l1", now=NOW, life_seconds=MAX_LIFE_SECONDS)
    assert token.expire_time == NOW + MAX_LIFE_SECONDS
    assert verifier(KEYS).verify(token.text).expire_time == token.expire_time


def test_promoted_key_signs_the_next_token(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ensure_keys_file(path)
    signing = signer(load_keys(path))
    signing.mint("alice", login_id="l1", now=NOW)
    kid = rotate_keys(path)
    token = signing.mint("alice", login_id="l1", now=NOW)
    assert jwt.get_unverified_header(token.text)["kid"] == kid


def test_times_are_in_a_token_to_the_microsecond() -> None:
    token = signer(KEYS).mint("alice", login_id="l1", now=1000.123456789, life_seconds=0.5)
    body = jwt.decode(token.text, options={"verify_signature": False})
    assert (body["iat"], body["exp"], token.expire_time) == (1000.123457, 1000.623457, 1000.623457)
