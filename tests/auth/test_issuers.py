"""Tokens of several issuers: each is judged by its own keys, audience and claims, and by no others."""

import json
from typing import Any

import jwt
import pytest

from service.auth.issuers import Issuer, Issuers, own_issuer
from service.auth.key_ring import KeyRing
from service.auth.verifier import TokenVerifier
from service.domain.call import Principal
from service.domain.errors import TokenInvalid
from tests.auth.rings import NOW, Clock, private_jwk, public_jwk, ring, secret_jwk, signer

FOREIGN = "https://login.example"
# Both issuers have a key of the same id.
OWN_KEYS = ring(secret_jwk("k1"))
FOREIGN_KEYS = ring(private_jwk("ES256", "k1"))


def foreign_principal(claims: dict[str, Any]) -> Principal:
    return Principal(claims["preferred_username"], f"oidc-{claims['jti']}", "", claims["iat"], claims["exp"])


def foreign_issuer(name: str = FOREIGN) -> Issuer:
    return Issuer(name, "chat", FOREIGN_KEYS, ("exp", "iat", "jti", "preferred_username"), foreign_principal)


def own() -> Issuer:
    return own_issuer(OWN_KEYS, name="parley", audience="parley")


@pytest.fixture
def judge() -> TokenVerifier:
    return TokenVerifier(Issuers(own(), foreign_issuer()), clock=Clock())


def foreign_token(*, keys: KeyRing = FOREIGN_KEYS, typ: str = "at+jwt", missing: str = "", **changes: object) -> str:
    claims: dict[str, object] = {
        "iss": FOREIGN,
        "aud": "chat",
        "preferred_username": "bob",
        "iat": NOW,
        "exp": NOW + 60,
        "jti": "j1",
    } | changes
    claims.pop(missing, None)
    key = keys.signing_key
    headers = {"kid": key.key_id, "typ": typ}
    return jwt.PyJWS().encode(json.dumps(claims).encode(), key.signing, key.algorithm, headers)


def test_each_issuers_token_is_judged_by_its_own_row(judge: TokenVerifier) -> None:
    assert judge.verify(foreign_token()) == Principal("bob", "oidc-j1", "", NOW, NOW + 60)
    token = signer(OWN_KEYS).mint("alice", login_id="l1", now=NOW).text
    assert judge.verify(token).username == "alice"
    assert judge.verify(foreign_token()).username == "bob"


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (foreign_token(keys=OWN_KEYS), "signature is wrong|not a token"),  # our key does not speak for them
        (foreign_token(iss="parley", aud="parley"), "signature is wrong|not a token"),  # nor theirs for us
        (foreign_token(aud="parley"), "another audience"),
        (foreign_token(typ="JWT"), "not an access token"),
        (foreign_token(exp=NOW + 400 * 86_400), "too long"),
        (foreign_token(nbf=NOW + 6), "not come"),
        (foreign_token(iss="https://nobody.example"), "signature is wrong|not a token"),
        (foreign_token(iss=[FOREIGN]), "signature is wrong|not a token"),
        (foreign_token(missing="iss"), "signature is wrong|not a token"),
        (foreign_token(iss={"a": 1}), "signature is wrong|not a token"),
        ("a.b.c", "not a token"),
        ("", "not a token"),
    ],
)
def test_token_that_is_not_good_for_its_row_is_refused(judge: TokenVerifier, token: str, why: str) -> None:
    with pytest.raises(TokenInvalid, match=why):
        judge.verify(token)


@pytest.mark.parametrize("missing", ["exp", "iat", "jti", "preferred_username"])
def test_each_row_has_claims_of_its_own_that_must_be_there(judge: TokenVerifier, missing: str) -> None:
    with pytest.raises(TokenInvalid, match="not a token"):
        judge.verify(foreign_token(missing=missing))


def test_public_key_of_one_issuer_is_no_secret_of_another() -> None:
    public = public_jwk(private_jwk("EdDSA", "k1"))
    row = Issuer(FOREIGN, "chat", ring(public, secret_jwk("k2")), ("exp", "iat"), foreign_principal)
    judge = TokenVerifier(Issuers(own(), row), clock=Clock())
    with pytest.raises(TokenInvalid):
        judge.verify(foreign_token(keys=OWN_KEYS))


def test_changed_keys_of_one_issuer_end_its_cached_tokens_and_not_the_others() -> None:
    changed = [FOREIGN_KEYS.signing_key]
    keys = KeyRing(changed, lambda: changed)
    row = Issuer(FOREIGN, "chat", keys, ("exp", "iat"), foreign_principal)
    judge = TokenVerifier(Issuers(own(), row), clock=Clock())
    token, own_token = foreign_token(), signer(OWN_KEYS).mint("alice", login_id="l1", now=NOW).text
    for _ in range(2):
        judge.verify(token)
        judge.verify(own_token)
    assert judge.signature_count == 2
    keys.refresh()
    for _ in range(2):
        judge.verify(token)
        judge.verify(own_token)
    assert judge.signature_count == 3


def test_two_rows_of_one_name_are_an_error_at_the_start() -> None:
    for rows in ((foreign_issuer(), foreign_issuer()), (foreign_issuer("parley"),)):
        with pytest.raises(ValueError, match="same name"):
            Issuers(own(), *rows)


def test_claims_that_can_not_be_read_are_refused_whoever_made_the_header(judge: TokenVerifier) -> None:
    header, _, signature = foreign_token().split(".")
    with pytest.raises(TokenInvalid):
        judge.verify(f"{header}.e30x.{signature}")
