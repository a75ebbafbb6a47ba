import asyncio
import base64
import itertools
import json
from pathlib import Path

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.auth.key_ring import KeyRing, to_keys
from service.auth.key_rotation import rotate_keys
from service.auth.keys import ensure_keys_file, load_keys
from service.auth.refresh_tokens import RefreshTokens, new_login_id
from service.auth.tokens import MAX_LIFE_SECONDS
from service.auth.verifier import MAX_TOKEN_BYTES
from service.domain.errors import ParleyError, TokenExpired, TokenInvalid
from tests.auth.rings import NOW, Clock, private_jwk, public_jwk, ring, secret_jwk, signer, verifier

KEYS = ring()
MISSING = object()


def claims(**changes: object) -> dict[str, object]:
    whole: dict[str, object] = {
        "iss": "parley",
        "aud": "parley",
        "sub": "alice",
        "iat": NOW,
        "exp": NOW + 900,
        "jti": "j1",
        "sid": "s1",
    }
    whole |= changes
    return {name: value for name, value in whole.items() if value is not MISSING}


def signed(payload: dict[str, object], *, algorithm: str = "HS256", **header: object) -> str:
    key = KEYS.signing_key
    headers = {"kid": key.key_id, "typ": "at+jwt"} | header
    return jwt.encode(
        payload,
        key.signing,
        algorithm,
        headers={name: value for name, value in headers.items() if value is not MISSING},
    )


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "not a token"),
        ("garbage", "not a token"),
        ("a.b.c", "not a token"),
        ("ä" * 40, "not a token"),
        ("x" * 4096, "not a token"),
        ("x" * 4097, "too long"),
        (RefreshTokens(b"k" * 32).first(new_login_id()), "not a token"),
        (signed(claims(), typ="refresh+jwt"), "not an access token"),
        (signed(claims(), typ="JWT"), "not an access token"),
        (signed(claims(), typ=MISSING), "not an access token"),
        (signed(claims(), kid="k2"), "no key"),
        (signed(claims(), kid=MISSING), "no key"),
        (signed(claims(), kid="../../etc/passwd"), "no key"),
        (signed(claims(aud="another")), "another audience"),
        (signed(claims(aud=["parley"])), "another audience"),
        (signed(claims(iss="another")), "another issuer"),
        (signed(claims(iss="parle")), "another issuer"),
        (signed(claims(sub="Alice")), "sub"),
        (signed(claims(sub="al ice")), "sub"),
        (signed(claims(sid="")), "sid"),
        (signed(claims(sid=7)), "wrong type"),
        (signed(claims(device="a\nb")), "device"),
        (signed(claims(scope=["dead_letters"])), "wrong type"),
        (signed(claims(exp="soon")), "number of seconds"),
        (signed(claims(exp=float("nan"))), "number of seconds"),
        (signed(claims(exp=float("inf"))), "number of seconds"),
        (signed(claims(exp=10**400)), "number of seconds"),
        (signed(claims(iat=True)), "number of seconds"),
        (signed(claims(exp=NOW + MAX_LIFE_SECONDS + 1.25)), "too long"),
        (signed(claims(iat=NOW + 5.25)), "not come"),
        (signed(claims(nbf=NOW + 5.25)), "not come"),
        *((signed(claims(**{name: MISSING})), "not a token") for name in ("exp", "iat", "sub", "jti", "sid")),
        (signed(claims(aud=MISSING)), "not a"),
        (signed(claims(iss=MISSING)), "not a"),
    ],
    ids=itertools.count(),  # the tokens are made anew each time
)
def test_token_that_is_not_good_is_refused_and_never_shown(token: str, why: str) -> None:
    with pytest.raises(TokenInvalid, match=why) as refusal:
        verifier(KEYS).verify(token)
    assert token == "" or token not in repr(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


def test_clock_of_another_server_may_be_ahead_by_up_to_five_seconds() -> None:
    assert verifier(KEYS).verify(signed(claims(iat=NOW + 5, nbf=NOW + 5))).username == "alice"


def test_life_may_be_a_second_longer_than_the_longest_since_times_are_rounded() -> None:
    assert verifier(KEYS).verify(signed(claims(exp=NOW + MAX_LIFE_SECONDS + 1))).username == "alice"


@pytest.mark.parametrize("now", [1000.0, 9e9])
def test_times_are_compared_with_the_clock_that_was_given(now: float) -> None:
    """PyJWT would compare with the machine's."""
    token = signed(claims(iat=now, nbf=now, exp=now + 900))
    assert verifier(KEYS, Clock(now)).verify(token).issue_time == now


def test_remembered_token_has_the_same_principal() -> None:
    judge = verifier(KEYS)
    token = signed(claims())
    assert judge.verify(token) == judge.verify(token) == judge.verify(token)
    assert judge.signature_count == 1


def test_token_that_was_used_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.auth.verifier._CACHED_COUNT", 2)
    judge = verifier(KEYS)
    first, second, third = [signed(claims(jti=f"j{number}")) for number in range(3)]
    for token in (first, second, first, third):  # the third takes the place of the second
        judge.verify(token)
    judge.verify(first)
    assert judge.signature_count == 3


def test_token_that_is_verified_anew_is_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.auth.verifier._CACHED_COUNT", 2)
    clock = Clock()
    judge = verifier(KEYS, clock)
    first, second, third = [signed(claims(jti=f"j{number}")) for number in range(3)]
    for token in (first, second):
        judge.verify(token)
    clock.now += 61
    for token in (first, third, first):  # the third takes the place of the second
        judge.verify(token)
    assert judge.signature_count == 4


def test_token_is_good_until_its_last_microsecond_and_no_longer() -> None:
    clock = Clock()
    token = signed(claims(exp=NOW + 1.5))
    clock.now = NOW + 1.499999
    assert verifier(KEYS, clock).verify(token).username == "alice"
    clock.now = NOW + 1.5
    with pytest.raises(TokenExpired):
        verifier(KEYS, clock).verify(token)


def test_cached_token_still_ends_on_time() -> None:
    clock = Clock()
    judge = verifier(KEYS, clock)
    token = signed(claims(exp=NOW + 1.5))
    judge.verify(token)
    clock.now = NOW + 1.5
    with pytest.raises(TokenExpired):
        judge.verify(token)


def test_signature_is_checked_once_a_minute() -> None:
    clock = Clock()
    judge = verifier(KEYS, clock)
    token = signed(claims())
    for passed_seconds, count in [(0, 1), (1, 1), (59, 1), (60, 2), (61, 2)]:
        clock.now = NOW + passed_seconds
        judge.verify(token)
        assert judge.signature_count == count


def test_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.auth.verifier._CACHED_COUNT", 2)
    judge = verifier(KEYS)
    first, *others = [signed(claims(jti=f"j{number}")) for number in range(3)]
    for token in [first, *others, *others]:
        judge.verify(token)
    assert judge.signature_count == 3
    judge.verify(first)
    assert judge.signature_count == 4


def test_unsigned_token_is_refused() -> None:
    header = {"alg": "none", "kid": "k1", "typ": "at+jwt"}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims())]
    for signature in ("", signed(claims()).rsplit(".", 1)[1]):
        with pytest.raises(TokenInvalid):
            verifier(KEYS).verify(".".join([*parts, signature]))


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_public_key_does_not_work_as_a_secret() -> None:
    jwk = private_jwk("EdDSA")
    public = base64.urlsafe_b64decode(jwk["x"] + "=")
    forged = jwt.encode(claims(), public, "HS256", headers={"kid": "k1", "typ": "at+jwt"})
    with pytest.raises(TokenInvalid):
        verifier(ring(jwk)).verify(forged)


def test_another_algorithm_of_the_same_key_is_refused() -> None:
    with pytest.raises(TokenInvalid):
        verifier(KEYS).verify(jwt.encode(claims(), b"s" * 64, "HS512", headers={"kid": "k1", "typ": "at+jwt"}))
    assert KEYS.signing_key.algorithm == "HS256"
    own = jwt.encode(claims(), KEYS.signing_key.signing * 2, "HS512", headers={"kid": "k1", "typ": "at+jwt"})
    with pytest.raises(TokenInvalid):
        verifier(KEYS).verify(own)


def test_key_in_the_header_is_not_looked_at() -> None:
    foreign = private_jwk("EdDSA", kid="k1")
    key = ring(foreign).signing_key
    headers = {"kid": "k1", "typ": "at+jwt", "jwk": public_jwk(foreign), "jku": "http://127.0.0.1:1/keys"}
    with pytest.raises(TokenInvalid):
        verifier(KEYS).verify(jwt.encode(claims(), key.signing, "EdDSA", headers=headers))


def test_changed_token_is_refused() -> None:
    header, body, signature = signed(claims()).split(".")
    other = base64.urlsafe_b64encode(json.dumps(claims(sub="bob")).encode()).rstrip(b"=").decode()
    with pytest.raises(TokenInvalid, match="signature"):
        verifier(KEYS).verify(f"{header}.{other}.{signature}")
    with pytest.raises(TokenInvalid):
        verifier(KEYS).verify(f"{header}.{body}.")


@given(st.text(max_size=200) | st.lists(st.binary(max_size=60), min_size=3, max_size=3))
def test_whatever_comes_gives_token_invalid(material: str | list[bytes]) -> None:
    if isinstance(material, list):
        material = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in material)
    with pytest.raises(ParleyError) as refusal:
        verifier(KEYS).verify(material)
    assert type(refusal.value) is TokenInvalid


def test_deeply_nested_header_is_refused() -> None:
    header = base64.urlsafe_b64encode(b'{"a":' + b"[" * 2800).rstrip(b"=").decode()
    with pytest.raises(TokenInvalid):
        verifier(KEYS).verify(f"{header}.e30.")


async def refresh_when_wanted(keys: KeyRing) -> None:
    """What the job does."""
    await keys.wanted.wait()
    keys.wanted.clear()
    keys.refresh()


async def test_worker_knows_a_key_that_was_added_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ensure_keys_file(path)
    keys_here, keys_there = load_keys(path), load_keys(path)
    judge = verifier(keys_there)
    old = signer(keys_here).mint("alice", login_id="l1", now=NOW).text
    judge.verify(old)
    kid = rotate_keys(path)
    new = signer(keys_here).mint("alice", login_id="l1", now=NOW).text
    assert jwt.get_unverified_header(new)["kid"] == kid
    for _ in range(2):
        with pytest.raises(TokenInvalid, match="no key of this server"):
            judge.verify(new)  # reads no file
    refreshing = asyncio.create_task(refresh_when_wanted(keys_there))
    assert await judge.has_new_key(new)
    await refreshing
    assert judge.verify(new).username == judge.verify(old).username == "alice"
    assert not await judge.has_new_key(new)
    assert not keys_there.wanted.is_set()


@pytest.mark.parametrize("token", ["", "garbage", "a.b.c", "ä" * 40, "x" * (MAX_TOKEN_BYTES + 1), signed(claims())])
async def test_refused_token_whose_key_is_no_question_wakes_nobody(token: str) -> None:
    assert not await verifier(KEYS).has_new_key(token)
    assert not KEYS.wanted.is_set()


@pytest.mark.parametrize("key_id", ["", "../../etc/passwd", "k" * 65])
async def test_key_id_that_no_key_can_have_wakes_nobody(key_id: str) -> None:
    assert await KEYS.wait_for(key_id) is False
    assert not await verifier(KEYS).has_new_key(signed(claims(), kid=key_id))
    assert not KEYS.wanted.is_set()


async def test_key_id_as_long_as_one_can_be_is_looked_for() -> None:
    keys = ring()
    waiting = asyncio.create_task(verifier(keys).has_new_key(signed(claims(), kid="k" * 64)))
    await refresh_when_wanted(keys)
    assert not await waiting


async def test_all_who_wait_for_keys_wait_for_one_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.auth.key_ring._REFRESH_SECONDS", 3600.0)
    known, new = to_keys({"keys": [secret_jwk("k1"), secret_jwk("k2")]})
    reads = [[known, new]]
    keys = KeyRing([known], reads.pop)
    waiting = [asyncio.create_task(keys.wait_for(key_id)) for key_id in ("k2", "k3", "k2")]
    await refresh_when_wanted(keys)
    async with asyncio.timeout(10):
        assert await asyncio.gather(*waiting) == [True, False, True]
    assert not keys.wanted.is_set()
    assert keys.version == 1


async def test_refresh_that_never_comes_refuses_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.auth.key_ring._REFRESH_SECONDS", 0.01)
    keys = ring()
    assert not await keys.wait_for("k2")
    assert keys.wanted.is_set()


def test_removed_key_ends_cached_tokens(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ensure_keys_file(path)
    keys = load_keys(path)
    judge = verifier(keys)
    token = signer(keys).mint("alice", login_id="l1", now=NOW).text
    judge.verify(token)
    rotate_keys(path)
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({"keys": whole["keys"][1:]}))
    keys.refresh()
    with pytest.raises(TokenInvalid, match="no key"):
        judge.verify(token)
