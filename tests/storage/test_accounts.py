import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from storage.errors import Absent, Conflict
from storage.postgres.accounts.accounts import Accounts
from storage.postgres.connections.database import Database
from storage.records import Login
from tests.support.patient import patient_database
from tests.support.waiting import wait_for

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
LIFE = timedelta(minutes=15)


@pytest.fixture(scope="module")
async def opened(postgres_url: str) -> AsyncIterator[Database]:
    async with patient_database(postgres_url) as database:
        yield database


@pytest.fixture
async def database(opened: Database) -> Database:
    await opened.execute("TRUNCATE users, logins, revocations")
    return opened


@pytest.fixture
def accounts(database: Database) -> Accounts:
    return Accounts(database)


def new_login(login_id: str = "l1", username: str = "alice", token: bytes = b"t1") -> Login:
    return Login(login_id, username, "phone", token, None, None, None, NOW + timedelta(days=30), None)


def clock() -> datetime:
    return NOW


async def test_account_and_first_login_are_made_together(accounts: Accounts) -> None:
    user = await accounts.create_user("alice", display_name="Alice", password_hash="h1", login=new_login())
    assert await accounts.get_user("alice") == user
    assert (user.username, user.display_name, user.avatar_uri, user.password_hash) == ("alice", "Alice", "", "h1")
    assert await accounts.find_login("l1") == new_login()


async def test_taken_name_is_a_conflict_and_changes_nothing(accounts: Accounts) -> None:
    user = await accounts.create_user("alice", password_hash="h1")
    with pytest.raises(Conflict):
        await accounts.create_user("alice", password_hash="h2", login=new_login())
    assert await accounts.get_user("alice") == user
    assert await accounts.find_login("l1") is None


async def test_failed_login_makes_no_account(accounts: Accounts) -> None:
    await accounts.create_user("alice", login=new_login())
    with pytest.raises(Conflict):
        await accounts.create_user("bob", login=new_login(username="bob"))
    assert await accounts.find_user("bob") is None


async def test_of_racing_registrations_one_succeeds(accounts: Accounts) -> None:
    made = await asyncio.gather(
        *(accounts.create_user("alice", login=new_login(f"l{number}")) for number in range(4)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in made) == ["Conflict", "Conflict", "Conflict", "User"]


async def test_users_who_must_all_be_new_are_made_together_or_not(accounts: Accounts) -> None:
    await accounts.create_user("bob")
    with pytest.raises(Conflict):
        await accounts.create_users(["alice", "bob"], password_hash="h1", all_new=True)
    assert await accounts.find_user("alice") is None
    assert await accounts.create_users(["alice", "carol"], password_hash="h1", all_new=True) == ["alice", "carol"]
    assert (await accounts.get_user("carol")).password_hash == "h1"


async def test_many_users_are_made_by_one_statement(accounts: Accounts, database: Database) -> None:
    await accounts.create_user("user0001", display_name="first")
    before = database.statement_count
    made = await accounts.create_users([f"user{number:04}" for number in range(2500)] + ["user0002"])
    assert database.statement_count == before + 1
    assert len(made) == 2499
    assert "user0001" not in made
    assert (await accounts.get_user("user0001")).display_name == "first"


async def test_users_are_found_by_name_in_one_statement(accounts: Accounts, database: Database) -> None:
    await accounts.create_users(["alice", "bob"])
    before = database.statement_count
    found = await accounts.find_users(["alice", "bob", "carol"])
    assert (sorted(found), database.statement_count) == (["alice", "bob"], before + 1)
    with pytest.raises(Absent):
        await accounts.get_user("carol")


async def test_profile_changes_what_is_given(accounts: Accounts) -> None:
    await accounts.create_user("alice", display_name="Alice")
    await accounts.update_profile("alice", display_name=None, avatar_uri="http://a")
    user = await accounts.update_profile("alice", display_name="", avatar_uri=None)
    assert (user.display_name, user.avatar_uri) == ("", "http://a")
    with pytest.raises(Absent):
        await accounts.update_profile("bob", display_name="Bob", avatar_uri=None)


async def test_login_needs_the_hash_in_force(accounts: Accounts) -> None:
    await accounts.create_user("alice", password_hash="h1")
    await accounts.create_users(["bob"])
    assert not await accounts.create_login(new_login(), password_hash="h0")
    assert not await accounts.create_login(new_login(username="bob"), password_hash="")
    assert not await accounts.create_login(new_login(username="carol"), password_hash="h1")
    assert await accounts.create_login(new_login(), password_hash="h1")
    await accounts.disable_user("alice", clock=clock, token_life=LIFE)
    assert not await accounts.create_login(new_login("l2"), password_hash="h1")
    await accounts.enable_user("alice")
    assert await accounts.create_login(new_login("l2"), password_hash="h1")


async def test_login_that_waits_for_a_change_of_password_sees_it(accounts: Accounts, database: Database) -> None:
    await accounts.create_user("alice", password_hash="h1")
    async with database.transaction() as other:
        await other.execute("UPDATE users SET password_hash = 'h2' WHERE username = 'alice'")
        waiting = asyncio.ensure_future(accounts.create_login(new_login(), password_hash="h1"))
        await wait_for(lambda: is_waiting(database))
    assert await waiting is False
    assert await accounts.find_login("l1") is None


async def test_of_racing_exchanges_one_succeeds(accounts: Accounts) -> None:
    await accounts.create_user("alice", login=new_login())
    found = await asyncio.gather(*(exchange(accounts, b"t1", f"t2{number}".encode()) for number in range(6)))
    (login,) = [one for one in found if one is not None]
    assert await accounts.find_login("l1") == login
    assert (login.previous_hash, login.previous_request, login.exchange_time) == (b"t1", "r1", NOW)


async def test_exchange_that_waits_for_another_one_finds_the_token_used(accounts: Accounts, database: Database) -> None:
    await accounts.create_user("alice", login=new_login())
    async with database.transaction() as other:
        await other.execute("UPDATE logins SET refresh_hash = 'other', previous_hash = 't1' WHERE login_id = 'l1'")
        waiting = asyncio.ensure_future(exchange(accounts, b"t1", b"t2"))
        await wait_for(lambda: is_waiting(database))
    assert await waiting is None
    login = await accounts.find_login("l1")
    assert login is not None
    assert login.refresh_hash == b"other"


async def test_only_the_good_token_of_a_living_login_is_exchanged(accounts: Accounts) -> None:
    await accounts.create_user("alice", login=new_login())
    assert await exchange(accounts, b"t0", b"t2") is None
    assert await exchange(accounts, b"t1", b"t2", now=NOW + timedelta(days=30)) is None
    await accounts.end_login("l1", now=NOW, token_life=LIFE)
    assert await exchange(accounts, b"t1", b"t2") is None


async def test_ending_a_login_appends_one_revocation(accounts: Accounts) -> None:
    await accounts.create_user("alice", login=new_login())
    revocation = await accounts.end_login("l1", now=NOW, token_life=LIFE)
    assert revocation is not None
    assert (revocation.username, revocation.login_id) == ("alice", "l1")
    assert (revocation.revoke_time, revocation.expire_time) == (NOW, NOW + LIFE)
    assert await accounts.end_login("l1", now=NOW, token_life=LIFE) is None
    assert await accounts.end_login("l0", now=NOW, token_life=LIFE) is None
    assert await accounts.list_revocations(0, now=NOW, limit=10) == [revocation]
    assert await accounts.list_revocations(revocation.revocation_id, now=NOW, limit=10) == []


async def test_new_password_ends_all_logins_but_the_new_one(accounts: Accounts) -> None:
    await accounts.create_user("alice", password_hash="h1", login=new_login())
    await accounts.create_login(new_login("l2"), password_hash="h1")
    revocation = await accounts.set_password(
        "alice", "h2", old_hash="h1", login=new_login("l3"), clock=clock, token_life=LIFE
    )
    assert (revocation.username, revocation.login_id, revocation.revoke_time) == ("alice", None, NOW)
    assert await living(accounts, "l1", "l2", "l3") == ["l3"]
    with pytest.raises(Absent):
        await accounts.set_password("alice", "h3", old_hash="h1", clock=clock, token_life=LIFE)
    assert (await accounts.get_user("alice")).password_hash == "h2"
    assert await living(accounts, "l3") == ["l3"]


async def test_operator_sets_a_password_without_the_old_one(accounts: Accounts) -> None:
    await accounts.create_users(["alice"])
    await accounts.set_password("alice", "h1", clock=clock, token_life=LIFE)
    assert (await accounts.get_user("alice")).password_hash == "h1"


async def test_time_of_a_revocation_is_taken_once_the_logins_are_locked(accounts: Accounts, database: Database) -> None:
    await accounts.create_user("alice", password_hash="h1", login=new_login())
    asked: list[bool] = []

    def listening_clock() -> datetime:
        asked.append(True)
        return NOW

    async with database.transaction() as other:
        await other.execute("UPDATE logins SET refresh_hash = 't2' WHERE login_id = 'l1'")
        waiting = asyncio.ensure_future(accounts.set_password("alice", "h2", clock=listening_clock, token_life=LIFE))
        await wait_for(lambda: is_waiting(database))
        assert not asked
    await waiting
    assert asked
    assert await living(accounts, "l1") == []


async def test_repeat_is_looked_up_after_whoever_ends_the_login(accounts: Accounts, database: Database) -> None:
    await accounts.create_user("alice", login=new_login())
    async with database.transaction() as other:
        await other.execute("UPDATE logins SET end_time = now() WHERE login_id = 'l1'")
        waiting = asyncio.ensure_future(accounts.find_login("l1"))
        await wait_for(lambda: is_waiting(database))
    login = await waiting
    assert login is not None
    assert login.end_time is not None


async def test_deletion_leaves_the_name_and_nothing_else(accounts: Accounts) -> None:
    await accounts.create_user("alice", display_name="Alice", password_hash="h1", login=new_login())
    await accounts.update_profile("alice", display_name=None, avatar_uri="http://a")
    revocation = await accounts.delete_user("alice", clock=clock, token_life=LIFE)
    assert revocation.login_id is None
    user = await accounts.get_user("alice")
    assert (user.display_name, user.avatar_uri, user.password_hash) == ("", "", None)
    assert user.delete_time is not None
    assert await living(accounts, "l1") == []
    for change in (
        accounts.delete_user("alice", clock=clock, token_life=LIFE),
        accounts.disable_user("alice", clock=clock, token_life=LIFE),
        accounts.end_logins("alice", clock=clock, token_life=LIFE),
        accounts.set_password("alice", "h2", clock=clock, token_life=LIFE),
        accounts.enable_user("alice"),
        accounts.update_profile("alice", display_name="Eve", avatar_uri=None),
    ):
        with pytest.raises(Absent):
            await change
    with pytest.raises(Conflict):
        await accounts.create_user("alice")
    assert await accounts.create_users(["alice"]) == []


async def test_disabling_ends_logins_and_is_idempotent(accounts: Accounts) -> None:
    await accounts.create_user("alice", password_hash="h1", login=new_login())
    await accounts.disable_user("alice", clock=clock, token_life=LIFE)
    first = (await accounts.get_user("alice")).disable_time
    await accounts.disable_user("alice", clock=clock, token_life=LIFE)
    assert first is not None
    assert (await accounts.get_user("alice")).disable_time == first
    assert await living(accounts, "l1") == []
    with pytest.raises(Absent):
        await accounts.set_password("alice", "h2", login=new_login("l2"), clock=clock, token_life=LIFE)


async def test_logins_of_a_user_can_be_ended_alone(accounts: Accounts) -> None:
    await accounts.create_user("alice", password_hash="h1", login=new_login())
    await accounts.create_user("bob", password_hash="h1", login=new_login("l2", "bob"))
    await accounts.end_logins("alice", clock=clock, token_life=LIFE)
    assert await living(accounts, "l1", "l2") == ["l2"]


async def test_new_hash_of_the_same_password_replaces_only_the_old_one(accounts: Accounts) -> None:
    await accounts.create_user("alice", password_hash="h1", login=new_login())
    assert not await accounts.replace_password_hash("alice", "h0", "h2")
    assert await accounts.replace_password_hash("alice", "h1", "h2")
    assert await living(accounts, "l1") == ["l1"]


async def exchange(accounts: Accounts, presented: bytes, successor: bytes, now: datetime = NOW) -> Login | None:
    return await accounts.exchange(
        "l1", presented, successor, request_id="r1", now=now, expire_time=NOW + timedelta(days=30)
    )


async def living(accounts: Accounts, *login_ids: str) -> list[str]:
    logins = [await accounts.find_login(login_id) for login_id in login_ids]
    return [login.login_id for login in logins if login is not None and login.end_time is None]


async def is_waiting(database: Database) -> bool:
    """Returns whether a connection of this test's schema waits for another one's transaction."""
    return bool(
        await database.fetchval(
            "SELECT count(*) FROM pg_locks waiting JOIN pg_locks touched USING (pid) "
            "WHERE NOT waiting.granted AND touched.relation IN ('users'::regclass, 'logins'::regclass)"
        )
    )
