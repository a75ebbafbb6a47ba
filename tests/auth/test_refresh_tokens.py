import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.auth.refresh_tokens import RefreshTokens, hash_of, is_repeat, new_login_id
from service.domain.errors import TokenInvalid
from service.domain.times import micros_of, to_micros, to_time
from storage.records import Login
from tests.auth.rings import NOW

TOKENS = RefreshTokens(b"k" * 32)
LOGIN_ID = new_login_id()
FIRST = TOKENS.first(LOGIN_ID)


def test_token_leads_to_its_login() -> None:
    assert TOKENS.login_id_of(FIRST) == LOGIN_ID
    assert TOKENS.login_id_of(TOKENS.successor(FIRST, "r1")) == LOGIN_ID
    assert TOKENS.first(LOGIN_ID) != FIRST


def test_successor_is_the_same_for_the_same_request_alone() -> None:
    same = TOKENS.successor(FIRST, "r1")
    assert same == RefreshTokens(b"k" * 32).successor(FIRST, "r1")
    assert len({same, TOKENS.successor(FIRST, "r2"), TOKENS.successor(same, "r1"), FIRST}) == 4
    assert same != RefreshTokens(b"j" * 32)._sealed(LOGIN_ID, b"")
    assert TOKENS.successor(FIRST, "") != TOKENS.successor(FIRST, "")


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        LOGIN_ID,
        f"{LOGIN_ID}.",
        f"{LOGIN_ID}.{'A' * 64}",
        f"{new_login_id()}.{FIRST.partition('.')[2]}",
        FIRST + "A",
        FIRST + "\n",
        FIRST[:-1] + ("A" if FIRST[-1] != "A" else "B"),
        RefreshTokens(b"j" * 32).first(LOGIN_ID),
        "x" * 100_000,
    ],
    ids=itertools.count(),  # the tokens are made anew each time
)
def test_invented_token_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(TokenInvalid) as refusal:
        TOKENS.login_id_of(token)
    assert len(token) < 2 or token not in str(refusal.value)


def login(**changes: object) -> Login:
    values: dict = {
        "login_id": LOGIN_ID,
        "username": "alice",
        "device_id": "phone",
        "refresh_hash": hash_of("new"),
        "previous_hash": hash_of("old"),
        "previous_request": "r1",
        "exchange_time": to_time(NOW),
        "expire_time": to_time(NOW + 900),
        "end_time": None,
    }
    return Login(**values | changes)


def test_repeat_is_honest_for_a_minute() -> None:
    now = to_time(NOW)
    assert is_repeat(login(), hash_of("old"), "r1", now)
    assert is_repeat(login(), hash_of("old"), "r1", now + timedelta(seconds=60))
    assert not is_repeat(login(), hash_of("old"), "r1", now + timedelta(seconds=60, microseconds=1))


def test_other_second_uses_are_not_honest() -> None:
    now = to_time(NOW)
    assert not is_repeat(login(), hash_of("older"), "r1", now)
    assert not is_repeat(login(), hash_of("old"), "r2", now)
    assert not is_repeat(login(previous_request=""), hash_of("old"), "", now)
    assert not is_repeat(login(previous_hash=None, previous_request=None, exchange_time=None), b"", "r1", now)


@given(st.integers(0, 4_102_444_800_000_000))
def test_microseconds_survive_every_form_of_a_time(micros: int) -> None:
    assert to_micros(round(micros / 1e6, 6)) == micros
    assert micros_of(to_time(micros / 1e6)) == micros


def test_tokens_of_earlier_versions_and_other_workers_are_known_and_have_the_same_successor() -> None:
    token = f"{'0' * 32}.cnJycnJycnJycnJycnJycnJycnJycnJy4qBcRroT-865KW6er9x_nhtvpv4_Qm75"
    assert TOKENS.login_id_of(token) == "0" * 32
    successor = f"{'0' * 32}.kIrXn30p6kfxEugRsQ5apmqWCs-MCk0BibsMSGlDFL4SFsEB8PrkWymXpPlPTIqK"
    assert TOKENS.successor(token, "r1") == successor
