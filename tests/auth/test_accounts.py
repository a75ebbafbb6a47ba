"""Accounts: registration, login, profile, password, deletion."""

import asyncio
from collections.abc import Callable

import argon2
import pytest
from parley.v1 import account_pb2

from service.auth.accounts import USER_TOKEN_LIFE
from service.domain.call import Call
from service.domain.errors import (
    BadCredentials,
    InvalidRequest,
    RateLimited,
    RegistrationClosed,
    TokenInvalid,
    UserDisabled,
    UsernameTaken,
    UserNotFound,
)
from service.domain.times import to_time
from service.rpc.accounts import AccountHandlers
from tests.auth.account_worker import KEYS, MONTH_SECONDS, NOBODY, PASSWORD, Worker
from tests.auth.rings import NOW, signer


async def test_register_makes_an_account_and_logs_it_in(worker: Worker) -> None:
    grant = await worker.register("Alice")
    assert (grant.user.username, grant.user.display_name, grant.device_id) == ("alice", "Alice", "phone")
    assert grant.access_expire_time == to_time(NOW + 900)
    assert grant.refresh_expire_time == to_time(NOW + MONTH_SECONDS)
    principal = worker.verifier.verify(grant.access_token)
    assert (principal.username, principal.device_id) == ("alice", "phone")
    assert principal.login_id == grant.refresh_token.partition(".")[0]
    assert worker.is_good(grant)


async def test_server_makes_a_device_id_where_none_is_given(worker: Worker) -> None:
    first, second = await worker.register(device_id=""), await worker.login(device_id="")
    assert first.device_id != second.device_id != ""


async def test_taken_name_is_refused_without_hashing(worker: Worker) -> None:
    grant = await worker.register()
    before = worker.passwords.run_count
    with pytest.raises(UsernameTaken):
        await worker.register("ALICE")
    await worker.service.delete_account(worker.call(grant), password=PASSWORD)
    assert worker.passwords.run_count == before + 1
    with pytest.raises(UsernameTaken):
        await worker.register()
    assert worker.passwords.run_count == before + 1


async def test_of_racing_registrations_one_succeeds(worker: Worker) -> None:
    made = await asyncio.gather(*(worker.register() for _ in range(3)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in made) == ["Grant", "UsernameTaken", "UsernameTaken"]


@pytest.mark.parametrize(
    ("field_name", "value"),
    [
        ("username", "al"),
        ("username", "a" * 33),
        ("username", "al ice"),
        ("username", "алиса"),
        ("username", "_alice"),
        ("username", "alice\0"),
        ("password", "short"),
        ("password", "x" * 257),
        ("display_name", "x" * 129),
        ("display_name", "a\0b"),
        ("device_id", "a\tb"),
        ("device_id", "x" * 65),
    ],
)
async def test_bad_field_is_refused_by_name_and_makes_nothing(worker: Worker, field_name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await worker.register(**{field_name: value})
    assert refusal.value.metadata["field"] == field_name
    assert await worker.accounts.find_user("alice") is None
    assert worker.passwords.run_count == 0


async def test_closed_registration_makes_nothing(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(is_open=False)
    with pytest.raises(RegistrationClosed):
        await worker.register()
    assert await worker.accounts.find_user("alice") is None


async def test_each_login_is_one_of_its_own(worker: Worker) -> None:
    grants = [await worker.register(), await worker.login(), await worker.login("ALICE")]
    assert len({worker.verifier.verify(grant.access_token).login_id for grant in grants}) == 3


async def test_unknown_deleted_passwordless_and_wrong_are_alike(worker: Worker) -> None:
    await worker.register()
    deleted = await worker.register("deleted")
    await worker.service.delete_account(worker.call(deleted), password=PASSWORD)
    await worker.accounts.create_users(["passwordless"])
    told = set()
    for username, password in [
        ("alice", "wrong horse"),
        ("alice", ""),
        ("nobody", PASSWORD),
        ("deleted", PASSWORD),
        ("passwordless", PASSWORD),
        ("passwordless", ""),
    ]:
        before = worker.passwords.run_count
        with pytest.raises(BadCredentials) as refusal:
            await worker.login(username, password)
        assert worker.passwords.run_count == before + 1
        told.add((refusal.value.message, str(refusal.value.metadata)))
    assert len(told) == 1


async def test_disabled_account_is_told_after_the_right_password_alone(worker: Worker) -> None:
    grant = await worker.register()
    await worker.accounts.disable_user("alice", clock=lambda: to_time(NOW), token_life=USER_TOKEN_LIFE)
    with pytest.raises(BadCredentials):
        await worker.login(password="wrong horse")
    with pytest.raises(UserDisabled):
        await worker.login()
    with pytest.raises(UserDisabled):
        await worker.refresh(grant)
    await worker.accounts.enable_user("alice")
    assert await worker.login()
    with pytest.raises(TokenInvalid):
        await worker.refresh(grant)


async def test_attempts_are_limited_before_anything_dear(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(attempts_per_minute=3)
    await worker.register()
    for username in ("alice", "nobody"):
        for _ in range(3):
            with pytest.raises(BadCredentials):
                await worker.login(username, "wrong horse")
        before = worker.passwords.run_count
        with pytest.raises(RateLimited):
            await worker.login(username)
        assert worker.passwords.run_count == before


async def test_right_passwords_are_not_limited(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(attempts_per_minute=3)
    await worker.register()
    for _ in range(5):
        await worker.login()


async def test_login_makes_an_old_hash_new_and_all_who_race_get_in(worker: Worker) -> None:
    grant = await worker.register()
    old = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
    await worker.accounts.replace_password_hash("alice", grant.user.password_hash or "", old)
    assert len(await asyncio.gather(*(worker.login() for _ in range(3)))) == 3
    password_hash = (await worker.accounts.get_user("alice")).password_hash
    assert password_hash is not None
    assert "m=19456,t=2" in password_hash
    before = worker.passwords.run_count
    await worker.login()
    assert worker.passwords.run_count == before + 1


async def test_profile_is_read_and_changed_in_parts(worker: Worker) -> None:
    call = worker.call(await worker.register())
    await worker.register("bob", display_name="")
    await worker.service.update_user(call, display_name=None, avatar_uri="https://example.org/a.png")
    user = await worker.service.update_user(call, display_name="", avatar_uri=None)
    assert (user.display_name, user.avatar_uri) == ("", "https://example.org/a.png")
    assert await worker.service.get_user(call, username="") == user
    assert (await worker.service.get_user(call, username="BOB")).username == "bob"
    with pytest.raises(UserNotFound):
        await worker.service.get_user(call, username="carol")
    with pytest.raises(InvalidRequest):
        await worker.service.get_user(call, username="no such name")
    with pytest.raises(InvalidRequest):
        await worker.service.update_user(call, display_name=None, avatar_uri="example.org")


async def test_change_of_password_ends_all_logins_but_the_new_one(worker: Worker) -> None:
    phone, laptop = await worker.register(), await worker.login(device_id="laptop")
    fresh = await worker.service.change_password(
        worker.call(laptop), old_password=PASSWORD, new_password="battery staple"
    )
    assert fresh.device_id == "laptop"
    assert [worker.is_good(grant) for grant in (phone, laptop, fresh)] == [False, False, True]
    assert [one.login_id for one in worker.announced] == [None]
    for grant in (phone, laptop):
        with pytest.raises(TokenInvalid):
            await worker.refresh(grant)
    assert await worker.refresh(fresh)
    with pytest.raises(BadCredentials):
        await worker.login()
    worker.clock.now += 1
    assert worker.is_good(await worker.login(password="battery staple"))


async def test_change_with_a_wrong_password_changes_nothing(worker: Worker) -> None:
    grant = await worker.register()
    for old, new, refusal in [
        ("wrong horse", "battery staple", BadCredentials),
        ("", "battery staple", BadCredentials),
        (PASSWORD, "short", InvalidRequest),
    ]:
        with pytest.raises(refusal):
            await worker.service.change_password(worker.call(grant), old_password=old, new_password=new)
    assert worker.announced == []
    assert await worker.login()


async def test_of_racing_changes_one_succeeds(worker: Worker) -> None:
    grant = await worker.register()
    found = await asyncio.gather(
        *(
            worker.service.change_password(
                worker.call(grant), old_password=PASSWORD, new_password=f"battery staple {number}"
            )
            for number in range(3)
        ),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in found) == ["BadCredentials", "BadCredentials", "Grant"]
    assert len(worker.announced) == 1


async def test_guessing_the_old_password_is_limited(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(attempts_per_minute=2)
    call = worker.call(await worker.register())
    for _ in range(2):
        with pytest.raises(BadCredentials):
            await worker.service.change_password(call, old_password="wrong horse", new_password="battery staple")
    with pytest.raises(RateLimited):
        await worker.service.delete_account(call, password="wrong horse")


async def test_deleted_account_is_gone_but_for_its_name(worker: Worker) -> None:
    grant, reader = await worker.register(), await worker.register("bob")
    await worker.service.delete_account(worker.call(grant), password=PASSWORD)
    user = await worker.service.get_user(worker.call(reader), username="alice")
    assert (user.username, user.display_name, user.delete_time is not None) == ("alice", "", True)
    assert [worker.is_good(one) for one in (grant, reader)] == [False, True]
    with pytest.raises(TokenInvalid):
        await worker.refresh(grant)
    with pytest.raises(UserNotFound):
        await worker.service.delete_account(worker.call(grant), password=PASSWORD)
    with pytest.raises(UserNotFound):
        await worker.service.update_user(worker.call(grant), display_name="Eve", avatar_uri=None)


async def test_user_leaves_all_groups_before_and_after_the_account_goes(worker: Worker) -> None:
    grant = await worker.register()
    await worker.service.delete_account(worker.call(grant), password=PASSWORD)
    assert worker.left == [("alice", False), ("alice", True)]


async def test_wrong_password_deletes_nothing(worker: Worker) -> None:
    grant = await worker.register()
    for password in ("wrong horse", ""):
        with pytest.raises(BadCredentials):
            await worker.service.delete_account(worker.call(grant), password=password)
    assert worker.left == []
    assert await worker.login()


async def test_account_without_a_password_is_deleted_without_one(worker: Worker) -> None:
    await worker.accounts.create_users(["robot"])
    token = signer(KEYS).mint("robot", login_id="minted", now=NOW).text
    call = Call("c1", "127.0.0.1", principal=worker.verifier.verify(token))
    with pytest.raises(BadCredentials):
        await worker.service.delete_account(call, password="guessed it")
    await worker.service.delete_account(call, password="")
    assert worker.revocations.is_revoked(call.caller)


async def test_handlers_carry_every_field(worker: Worker) -> None:
    handlers = AccountHandlers(worker.service, worker.logins)
    registered = await handlers.register(
        account_pb2.RegisterRequest(username="alice", password=PASSWORD, display_name="Alice", device_id="d1"), NOBODY
    )
    logged_in = await handlers.login(
        account_pb2.LoginRequest(username="alice", password=PASSWORD, device_id="d2"), NOBODY
    )
    refreshed = await handlers.refresh_token(
        account_pb2.RefreshTokenRequest(refresh_token=logged_in.refresh_token, request_id="r1"), NOBODY
    )
    for response, device_id in ((registered, "d1"), (logged_in, "d2"), (refreshed, "d2")):
        assert all(response.HasField(name) for name in ("user", "access_expire_time", "refresh_expire_time"))
        assert (response.user.username, response.device_id) == ("alice", device_id)
        assert worker.verifier.verify(response.access_token).device_id == device_id
    call = Call("c1", "", principal=worker.verifier.verify(refreshed.access_token))
    updated = await handlers.update_user(account_pb2.UpdateUserRequest(avatar_uri="http://a"), call)
    assert (updated.user.display_name, updated.user.avatar_uri) == ("Alice", "http://a")
    assert not updated.user.HasField("delete_time")
    changed = await handlers.change_password(
        account_pb2.ChangePasswordRequest(old_password=PASSWORD, new_password="battery staple"), call
    )
    await handlers.logout(account_pb2.LogoutRequest(refresh_token=changed.refresh_token), NOBODY)
    await handlers.delete_account(account_pb2.DeleteAccountRequest(password="battery staple"), call)
    found = await handlers.get_user(account_pb2.GetUserRequest(username="alice"), call)
    assert found.user.HasField("delete_time")
    assert found.user.display_name == found.user.avatar_uri == ""
