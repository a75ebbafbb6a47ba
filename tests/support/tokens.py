"""Tokens of every kind, made with a test server's own keys."""

import time

import jwt

from service.auth.key_ring import KeyRing
from service.auth.key_rotation import add_key
from service.auth.keys import load_keys
from service.auth.signer import TokenSigner
from tests.support.servers import RunningServer


def mint(
    server: RunningServer,
    username: str,
    *,
    life_seconds: float = 60.0,
    audience: str = "parley",
    issuer: str = "parley",
) -> tuple[str, float]:
    """A token that belongs to no login; gives when it ends, too, in Unix seconds."""
    signer = TokenSigner(
        load_keys(server.data_dir / "keys.json"), issuer=issuer, audience=audience, life_seconds=life_seconds
    )
    token = signer.mint(username, login_id="minted", now=time.time())
    return token.text, token.expire_time


def mint_with_new_key(server: RunningServer, username: str) -> str:
    """A token of a key that was added just now, so that no worker has read it yet."""
    path = server.data_dir / "keys.json"
    key_id, _ = add_key(path)
    key = load_keys(path).find(key_id)
    assert key is not None
    signer = TokenSigner(KeyRing([key]), issuer="parley", audience="parley", life_seconds=60)
    return signer.mint(username, login_id="minted", now=time.time()).text


def bad_tokens(server: RunningServer, good: str, refresh_token: str, username: str) -> dict[str, tuple[str, str]]:
    """Tokens that must not be accepted: name -> (token, reason)."""
    claims = jwt.decode(good, options={"verify_signature": False})
    header = jwt.get_unverified_header(good)
    key = load_keys(server.data_dir / "keys.json").signing_key

    def signed(changed: dict[str, object], *, typ: str = "at+jwt", kid: str = str(header["kid"])) -> str:
        return jwt.encode({**claims, **changed}, key.signing, key.algorithm, headers={"kid": kid, "typ": typ})

    head, body, signature = good.split(".")
    return {
        "garbage": ("garbage", "TOKEN_INVALID"),
        "three parts of garbage": ("a.b.c", "TOKEN_INVALID"),
        "refresh token": (refresh_token, "TOKEN_INVALID"),
        "other audience": (mint(server, username, audience="other")[0], "TOKEN_INVALID"),
        "other issuer": (mint(server, username, issuer="other")[0], "TOKEN_INVALID"),
        "algorithm none": (jwt.encode(claims, None, "none", headers={**header, "alg": "none"}), "TOKEN_INVALID"),
        "other key": (
            jwt.encode(claims, "k" * 64, "HS256", headers={"kid": header["kid"], "typ": "at+jwt"}),
            "TOKEN_INVALID",
        ),
        "unknown key id": (signed({}, kid="unknown"), "TOKEN_INVALID"),
        "other type": (signed({}, typ="JWT"), "TOKEN_INVALID"),
        "no login id": (signed({"sid": ""}), "TOKEN_INVALID"),
        "no signature": (f"{head}.{body}.", "TOKEN_INVALID"),
        "other signature": (f"{head}.{body}.{signature[::-1]}", "TOKEN_INVALID"),
        "expired": (signed({"exp": time.time() - 1}), "TOKEN_EXPIRED"),
        "of the future": (signed({"iat": time.time() + 600}), "TOKEN_INVALID"),
        "too long": ("a" * 6000, "TOKEN_INVALID"),
    }
