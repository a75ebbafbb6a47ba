"""Accounts over the wire: registering, logging in and out, tokens that rotate, profiles, the end."""

import time
from typing import Any

import grpc
import jwt
import pytest
from parley.v1 import account_pb2 as pb

from tests.support.callers import Caller, refused, register
from tests.support.people import PASSWORD, fresh_name


@pytest.fixture
def alice(grpc_stub: Any) -> Caller:
    return register(grpc_stub)


def login(stub: Any, name: str, password: str = PASSWORD, **fields: str) -> pb.LoginResponse:
    return stub.Login(pb.LoginRequest(username=name, password=password, **fields), timeout=20)


def get_user(caller: Caller, name: str = "") -> pb.User:
    return caller.call("GetUser", pb.GetUserRequest(username=name)).user


def test_register_logs_in(grpc_stub):
    name = fresh_name()
    answer = grpc_stub.Register(
        pb.RegisterRequest(username=name.upper(), password=PASSWORD, display_name="Álice ✓", device_id="phone")
    )
    assert (answer.user.username, answer.user.display_name, answer.device_id) == (name, "Álice ✓", "phone")
    assert abs(answer.user.create_time.seconds - time.time()) < 60
    assert time.time() < answer.access_expire_time.seconds < answer.refresh_expire_time.seconds
    caller = Caller(grpc_stub, name, answer.access_token, answer.refresh_token)
    assert get_user(caller, name) == answer.user


def test_access_token_says_who_and_when_and_nothing_secret(alice):
    claims = jwt.decode(alice.token, options={"verify_signature": False})
    assert set(claims) >= {"iss", "aud", "sub", "iat", "exp", "jti", "sid"}
    assert claims["sub"] == alice.name
    header = jwt.get_unverified_header(alice.token)
    assert set(header) == {"alg", "kid", "typ"}
    assert header["typ"] == "at+jwt"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ab",
        "a" * 33,
        "алиса",
        "al ice",
        "alice!",
        "-alice",
        "alice:bob",
        "ali\0ce",
        "alice\n",
        "\N{FULLWIDTH LATIN CAPITAL LETTER A}lice",
    ],
)
def test_names_that_are_not_legal_are_refused(grpc_stub, name):
    with refused("INVALID_REQUEST", grpc.StatusCode.INVALID_ARGUMENT) as refusal:
        grpc_stub.Register(pb.RegisterRequest(username=name, password=PASSWORD))
    assert refusal.metadata["field"] == "username"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"password": ""}, "password"),
        ({"password": "short"}, "password"),
        ({"password": "x" * 10_000}, "password"),
        ({"password": PASSWORD, "display_name": "x" * 10_000}, "display_name"),
        ({"password": PASSWORD, "display_name": "a\0b"}, "display_name"),
        ({"password": PASSWORD, "device_id": "with\nbreak"}, "device_id"),
        ({"password": PASSWORD, "device_id": "d" * 65}, "device_id"),
    ],
)
def test_fields_out_of_their_range_are_refused_by_name(grpc_stub, fields, field):
    with refused("INVALID_REQUEST") as refusal:
        grpc_stub.Register(pb.RegisterRequest(username=fresh_name(), **fields))
    assert refusal.metadata["field"] == field


def test_name_is_taken_whatever_its_case(grpc_stub, alice):
    for name in (alice.name, alice.name.upper()):
        with refused("USERNAME_TAKEN", grpc.StatusCode.ALREADY_EXISTS) as refusal:
            register(grpc_stub, name)
        assert refusal.metadata["username"] == alice.name


def test_wrong_password_and_unknown_user_are_alike(grpc_stub, alice):
    seen = []
    for name in (alice.name, fresh_name()):
        with refused("BAD_CREDENTIALS", grpc.StatusCode.UNAUTHENTICATED) as refusal:
            login(grpc_stub, name, "another password")
        seen.append((refusal.error.details(), refusal.metadata))
    assert seen[0] == seen[1]


def test_login_makes_tokens_of_its_own_for_a_device(grpc_stub, alice):
    answer = login(grpc_stub, alice.name.upper(), device_id="tablet")
    assert (answer.user.username, answer.device_id) == (alice.name, "tablet")
    assert answer.access_token != alice.token
    grpc_stub.Logout(pb.LogoutRequest(refresh_token=answer.refresh_token))
    assert get_user(alice).username == alice.name


def test_refresh_rotates_and_reuse_ends_the_login(grpc_stub, alice):
    first = grpc_stub.RefreshToken(pb.RefreshTokenRequest(refresh_token=alice.refresh_token, request_id="r1"))
    assert first.user.username == alice.name
    # The answer may have been lost: the same request gets the same successor.
    again = grpc_stub.RefreshToken(pb.RefreshTokenRequest(refresh_token=alice.refresh_token, request_id="r1"))
    assert again.refresh_token == first.refresh_token
    fresh = Caller(grpc_stub, alice.name, first.access_token, first.refresh_token)
    assert get_user(fresh).username == alice.name
    with refused("TOKEN_INVALID", grpc.StatusCode.UNAUTHENTICATED):
        grpc_stub.RefreshToken(pb.RefreshTokenRequest(refresh_token=alice.refresh_token, request_id="r2"))
    with refused("TOKEN_INVALID"):
        get_user(fresh)
    with refused("TOKEN_INVALID"):
        grpc_stub.RefreshToken(pb.RefreshTokenRequest(refresh_token=first.refresh_token))


@pytest.mark.parametrize("token", ["", "garbage", "a.b.c", "x" * 10_000, "\0"])
def test_what_is_no_refresh_token_is_refused(grpc_stub, token):
    for method, request in (("RefreshToken", pb.RefreshTokenRequest), ("Logout", pb.LogoutRequest)):
        with refused("TOKEN_INVALID", grpc.StatusCode.UNAUTHENTICATED):
            getattr(grpc_stub, method)(request(refresh_token=token))


def test_access_token_is_no_refresh_token(grpc_stub, alice):
    with refused("TOKEN_INVALID"):
        grpc_stub.RefreshToken(pb.RefreshTokenRequest(refresh_token=alice.token))


def test_logout_ends_the_login(grpc_stub, alice):
    grpc_stub.Logout(pb.LogoutRequest(refresh_token=alice.refresh_token))
    with refused("TOKEN_INVALID", grpc.StatusCode.UNAUTHENTICATED):
        get_user(alice)
    with refused("TOKEN_INVALID"):
        grpc_stub.RefreshToken(pb.RefreshTokenRequest(refresh_token=alice.refresh_token))


def test_profile_changes_what_is_given_alone(grpc_stub, alice):
    updated = alice.call("UpdateUser", pb.UpdateUserRequest(display_name="A", avatar_uri="https://a/b.png")).user
    assert (updated.display_name, updated.avatar_uri) == ("A", "https://a/b.png")
    updated = alice.call("UpdateUser", pb.UpdateUserRequest(display_name="")).user
    assert (updated.display_name, updated.avatar_uri) == ("", "https://a/b.png")
    assert get_user(register(grpc_stub), alice.name) == updated


def test_user_who_does_not_exist_is_not_found(alice):
    with refused("USER_NOT_FOUND", grpc.StatusCode.NOT_FOUND):
        get_user(alice, fresh_name())


def test_changed_password_is_the_one_that_counts(grpc_stub, alice):
    with refused("BAD_CREDENTIALS"):
        alice.call("ChangePassword", pb.ChangePasswordRequest(old_password="wrong one", new_password="a new password"))
    answer = alice.call(
        "ChangePassword", pb.ChangePasswordRequest(old_password=PASSWORD, new_password="a new password")
    )
    with refused("TOKEN_INVALID"):
        get_user(alice)
    assert get_user(Caller(grpc_stub, alice.name, answer.access_token, answer.refresh_token)).username == alice.name
    with refused("BAD_CREDENTIALS"):
        login(grpc_stub, alice.name)
    assert login(grpc_stub, alice.name, "a new password").user.username == alice.name


def test_deleted_account_leaves_a_tombstone(grpc_stub, alice):
    with refused("BAD_CREDENTIALS"):
        alice.call("DeleteAccount", pb.DeleteAccountRequest(password="wrong one"))
    alice.call("UpdateUser", pb.UpdateUserRequest(display_name="A"))
    alice.call("DeleteAccount", pb.DeleteAccountRequest(password=PASSWORD))
    with refused("TOKEN_INVALID"):
        get_user(alice)
    with refused("BAD_CREDENTIALS"):
        login(grpc_stub, alice.name)
    with refused("USERNAME_TAKEN"):
        register(grpc_stub, alice.name)
