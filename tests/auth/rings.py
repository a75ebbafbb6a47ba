"""Keys, issuers and clocks for the tests of this folder."""

import base64
import json
import secrets
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from service.auth.issuers import Issuers, own_issuer
from service.auth.key_ring import KeyRing, to_keys
from service.auth.signer import TokenSigner
from service.auth.verifier import TokenVerifier

NOW = 1_750_000_000.25


class Clock:
    """Unix seconds that stand still until they are told."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def secret_jwk(kid: str = "k1", size_bytes: int = 32) -> dict[str, str]:
    material = base64.urlsafe_b64encode(secrets.token_bytes(size_bytes)).rstrip(b"=").decode()
    return {"kty": "oct", "kid": kid, "alg": "HS256", "k": material}


def private_jwk(algorithm: str, kid: str = "k1", *, bits: int = 2048) -> dict[str, str]:
    found: str
    if algorithm == "ES256":
        found = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()))
    elif algorithm == "EdDSA":
        found = jwt.algorithms.OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate())
    elif algorithm == "RS256":
        found = jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, bits))
    else:
        return secret_jwk(kid)
    return {**only_needed(json.loads(found)), "kid": kid, "alg": algorithm}


def public_jwk(jwk: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in jwk.items() if name in {"kty", "crv", "x", "y", "n", "e", "kid", "alg"}}


def only_needed(jwk: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in jwk.items() if name != "key_ops"}


def ring(*jwks: dict[str, str]) -> KeyRing:
    return KeyRing(to_keys({"keys": list(jwks) or [secret_jwk()]}))


def signer(keys: KeyRing, **changes: object) -> TokenSigner:
    settings: dict = {"issuer": "parley", "audience": "parley", "life_seconds": 900} | changes
    return TokenSigner(keys, **settings)


def verifier(keys: KeyRing, clock: Clock | None = None) -> TokenVerifier:
    return TokenVerifier(Issuers(own_issuer(keys, name="parley", audience="parley")), clock=clock or Clock())


def write_keys(path: Path, *jwks: dict[str, str], mode: int = 0o600) -> Path:
    path.write_text(json.dumps({"keys": list(jwks)}))
    path.chmod(mode)
    return path
