import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import argon2
import pytest
from parley.v1 import account_pb2

from service.auth.accounts import USER_TOKEN_LIFE, AccountService
from service.auth.attempts import Attempts
from service.auth.logins import Grant, Logins
from service.auth.passwords import Passwords
from service.auth.refresh_tokens import RefreshTokens, new_login_id
from service.auth.refusals import RefusalLog
from service.auth.revocations import Revocations
from service.auth.verifier import TokenVerifier
from service.domain.call import Call
from service.domain.errors import (
    BadCredentials,
    InvalidRequest,
    RateLimited,
    RegistrationClosed,
    TokenExpired,
    TokenInvalid,
    UserDisabled,
    UsernameTaken,
    UserNotFound,
)
from service.domain.times import to_time
from service.rpc.accounts import AccountHandlers
from storage.postgres.accounts.accounts import Accounts
from storage.postgres.connections.database import Database
from storage.records import Revocation
from tests.auth.rings import NOW, Clock, ring, signer, verifier
from tests.support.patient import patient_database

PASSWORD = "correct horse"
MONTH_SECONDS = 2_592_000
NOBODY = Call("c0", "127.0.0.1")
KEYS = ring()


@dataclass
class Worker:
    """An account service with what surrounds it. It hears its own announcements, as a worker does."""

    accounts: Accounts
    passwords: Passwords
    clock: Clock
    is_open: bool = True
    attempts_per_minute: int = 1000
    announced: list[Revocation] = field(default_factory=list)
    left: list[tuple[str, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.revocations = Revocations(self.clock)
        self.verifier: TokenVerifier = verifier(KEYS, self.clock)
        refusals = RefusalLog()
        self.logins = Logins(
            self.accounts,
            signer=signer(KEYS),
            refresh_tokens=RefreshTokens(b"k" * 32),
            announce_revocation=self.announce,
            refresh_token_seconds=MONTH_SECONDS,
            refusals=refusals,
            clock=self.clock,
        )
        self.service = AccountService(
            self.accounts,
            passwords=self.passwords,
            attempts=Attempts(per_account_per_minute=self.attempts_per_minute, per_address_per_minute=1000),
            logins=self.logins,
            refusals=refusals,
            leave_all=self.leave_all,
            announce_revocation=self.announce,
            is_registration_open=self.is_open,
            clock=self.clock,
        )

    async def leave_all(self, username: str) -> None:
        self.left.append((username, (await self.accounts.get_user(username)).delete_time is not None))

    def announce(self, revocation: Revocation) -> None:
        self.announced.append(revocation)
        self.revocations.apply(revocation)

    def call(self, grant: Grant) -> Call:
        return Call("c1", "127.0.0.1", principal=self.verifier.verify(grant.access_token))

    def is_good(self, grant: Grant) -> bool:
        return not self.revocations.is_revoked(self.verifier.verify(grant.access_token))

    async def register(self, username: str = "alice", **changes: str) -> Grant:
        fields = {"password": PASSWORD, "display_name": "Alice", "device_id": "phone"} | changes
        return await self.service.register(NOBODY, username=username, **fields)

    async def login(self, username: str = "alice", password: str = PASSWORD, device_id: str = "phone") -> Grant:
        return await self.service.login(NOBODY, username=username, password=password, device_id=device_id)

    async def refresh(self, grant: Grant, request_id: str = "") -> Grant:
        return await self.logins.refresh(refresh_token=grant.refresh_token, request_id=request_id)


@pytest.fixture(scope="module")
async def opened(postgres_url: str) -> AsyncIterator[Database]:
    async with patient_database(postgres_url) as database:
        yield database


@pytest.fixture
async def make_worker(opened: Database) -> AsyncIterator[Callable[..., Worker]]:
    await opened.execute("TRUNCATE users, logins, revocations")
    passwords = Passwords()
    clock = Clock()

    def make(**settings: object) -> Worker:
        return Worker(Accounts(opened), passwords, clock, **settings)  # type: ignore[arg-type]

    yield make
    passwords.close()


@pytest.fixture
def worker(make_worker: Callable[..., Worker]) -> Worker:
    return make_worker()


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


async def test_refresh_gives_the_next_pair_of_the_same_login(worker: Worker) -> None:
    first = await worker.register()
    worker.clock.now += 100
    second = await worker.refresh(first)
    assert second.refresh_token != first.refresh_token
    assert (second.user.username, second.device_id) == ("alice", "phone")
    assert second.access_expire_time == to_time(NOW + 1000)
    assert second.refresh_expire_time == to_time(NOW + 100 + MONTH_SECONDS)
    principals = [worker.verifier.verify(grant.access_token) for grant in (first, second)]
    assert principals[0].login_id == principals[1].login_id
    assert worker.is_good(await worker.refresh(second))


async def test_repeat_within_a_minute_gives_the_same_successor(make_worker: Callable[..., Worker]) -> None:
    here, there = make_worker(), make_worker()
    first = await here.register()
    second = await here.refresh(first, "r1")
    here.clock.now += 60
    again = await there.refresh(first, "r1")
    assert (again.refresh_token, again.refresh_expire_time) == (second.refresh_token, second.refresh_expire_time)
    assert here.is_good(await here.refresh(again, "r2"))


@pytest.mark.parametrize(
    ("first_id", "second_id", "passed_seconds"), [("r1", "r1", 60.1), ("r1", "r2", 0), ("", "", 0), ("r1", "", 0)]
)
async def test_other_second_use_ends_the_login(
    worker: Worker, first_id: str, second_id: str, passed_seconds: float
) -> None:
    first = await worker.register()
    second = await worker.refresh(first, first_id)
    worker.clock.now += passed_seconds
    with pytest.raises(TokenInvalid, match="used before"):
        await worker.refresh(first, second_id)
    assert [one.login_id for one in worker.announced] == [first.refresh_token.partition(".")[0]]
    assert not worker.is_good(second)
    with pytest.raises(TokenInvalid, match="ended"):
        await worker.refresh(second)
    assert len(worker.announced) == 1


async def test_repeat_after_the_successor_was_used_ends_the_login(worker: Worker) -> None:
    first = await worker.register()
    second = await worker.refresh(first, "r1")
    await worker.refresh(second, "r2")
    with pytest.raises(TokenInvalid, match="used before"):
        await worker.refresh(first, "r1")


async def test_racing_exchanges_of_one_request_get_one_successor(make_worker: Callable[..., Worker]) -> None:
    workers = [make_worker() for _ in range(4)]
    first = await workers[0].register()
    grants = await asyncio.gather(*(one.refresh(first, "r1") for one in workers))
    assert len({grant.refresh_token for grant in grants}) == 1
    assert not any(one.announced for one in workers)


async def test_racing_exchanges_of_different_requests_give_at_most_one_successor(
    make_worker: Callable[..., Worker],
) -> None:
    workers = [make_worker() for _ in range(4)]
    first = await workers[0].register()
    found = await asyncio.gather(
        *(one.refresh(first, f"r{number}") for number, one in enumerate(workers)), return_exceptions=True
    )
    assert sum(isinstance(one, Grant) for one in found) == 1
    assert sum(isinstance(one, TokenInvalid) for one in found) == 3
    assert sum(len(one.announced) for one in workers) == 1


async def test_expired_refresh_token_says_so(worker: Worker) -> None:
    first = await worker.register()
    worker.clock.now += MONTH_SECONDS
    with pytest.raises(TokenExpired):
        await worker.refresh(first)


async def test_invented_refresh_token_ends_nothing(worker: Worker) -> None:
    first = await worker.register()
    login_id = first.refresh_token.partition(".")[0]
    for token in (f"{login_id}.{'A' * 64}", first.access_token, "", RefreshTokens(b"j" * 32).first(login_id)):
        with pytest.raises(TokenInvalid):
            await worker.logins.refresh(refresh_token=token, request_id="r1")
        with pytest.raises(TokenInvalid):
            await worker.logins.logout(refresh_token=token)
    with pytest.raises(TokenInvalid):
        await worker.logins.refresh(refresh_token=RefreshTokens(b"k" * 32).first(new_login_id()), request_id="r1")
    assert worker.announced == []
    assert await worker.refresh(first)


async def test_long_request_id_is_refused(worker: Worker) -> None:
    first = await worker.register()
    with pytest.raises(InvalidRequest):
        await worker.refresh(first, "r" * 65)
    assert await worker.refresh(first)


async def test_logout_ends_the_login_by_any_of_its_tokens_and_is_idempotent(worker: Worker) -> None:
    first = await worker.register()
    other = await worker.login()
    third = await worker.refresh(await worker.refresh(first))
    for _ in range(2):
        await worker.logins.logout(refresh_token=first.refresh_token)
    assert len(worker.announced) == 1
    assert not worker.is_good(third)
    assert worker.is_good(other)
    with pytest.raises(TokenInvalid):
        await worker.refresh(third)


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
