from collections.abc import Sequence
from datetime import timedelta

import pytest

from service.auth.revocations import RevocationReader, Revocations
from service.domain.call import Principal
from service.domain.errors import TokenInvalid
from service.domain.times import to_time
from storage.postgres.accounts.accounts import Accounts
from storage.postgres.connections.database import Database
from storage.records import Revocation
from tests.auth.rings import NOW, Clock


def principal(username: str = "alice", login_id: str = "l1", issue_time: float = NOW) -> Principal:
    return Principal(username, login_id, "phone", issue_time, issue_time + 900)


def revocation(login_id: str | None = None, *, revoke_time: float = NOW, username: str = "alice") -> Revocation:
    return Revocation(1, username, login_id, to_time(revoke_time), to_time(revoke_time + 900))


def test_ended_login_is_revoked_and_no_other() -> None:
    known = Revocations(Clock())
    known.apply(revocation("l1"))
    assert known.is_revoked(principal())
    assert known.is_revoked(principal(issue_time=NOW + 10))
    assert not known.is_revoked(principal(login_id="l2"))
    with pytest.raises(TokenInvalid, match="ended"):
        known.check(principal())
    known.check(principal(login_id="l2"))


def test_all_tokens_of_a_user_up_to_the_microsecond_are_revoked() -> None:
    known = Revocations(Clock())
    known.apply(revocation())
    assert known.is_revoked(principal(issue_time=NOW))
    assert known.is_revoked(principal(issue_time=NOW - 1))
    assert not known.is_revoked(principal(issue_time=round(NOW + 1e-6, 6)))
    assert not known.is_revoked(principal(username="bob"))


def test_older_revocation_does_not_undo_a_newer_one() -> None:
    known = Revocations(Clock())
    known.load([revocation(revoke_time=NOW + 2), revocation(revoke_time=NOW)])
    assert known.is_revoked(principal(issue_time=NOW + 1))


def test_listeners_hear_what_is_new_once_and_after_it_holds() -> None:
    known = Revocations(Clock())
    heard: list[tuple[str, str | None, bool]] = []
    known.listen(lambda one: heard.append((one.username, one.login_id, known.is_revoked(principal()))))
    known.load([revocation("l1")] * 2 + [revocation()] * 2)
    assert heard == [("alice", "l1", True), ("alice", None, True)]


def test_what_is_over_is_forgotten_and_not_taken_again() -> None:
    clock = Clock()
    known = Revocations(clock)
    known.load([revocation("l1"), revocation()])
    clock.now = NOW + 901
    known.load([revocation("l2"), revocation()])
    assert len(known) == 0


async def append(database: Database, *login_ids: str) -> None:
    for login_id in login_ids:
        await database.execute(
            "INSERT INTO revocations (username, login_id, revoke_time, expire_time) VALUES ('alice', $1, $2, $3)",
            login_id,
            to_time(NOW),
            to_time(NOW + 900),
        )


def reader(database: Database, known: Revocations, monotonic: Clock) -> RevocationReader:
    return RevocationReader(Accounts(database), known, clock=Clock(), monotonic=monotonic)


def revoked(known: Revocations, login_ids: Sequence[str]) -> list[str]:
    return [login_id for login_id in login_ids if known.is_revoked(principal(login_id=login_id))]


async def test_poll_reads_on_page_by_page(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.auth.revocations._PAGE_SIZE", 2)
    known = Revocations(Clock())
    polls = reader(database, known, Clock(0))
    ids = [f"l{number}" for number in range(5)]
    await append(database, *ids[:4])
    await polls.poll()
    assert revoked(known, ids) == ids[:4]
    await append(database, ids[4])
    await polls.poll()
    assert revoked(known, ids) == ids


async def test_poll_finds_a_lower_id_that_was_committed_later(database: Database) -> None:
    known = Revocations(Clock())
    monotonic = Clock(0)
    polls = reader(database, known, monotonic)
    async with database.transaction() as slow:
        await slow.execute(
            "INSERT INTO revocations (username, login_id, expire_time) VALUES ('alice', 'slow', $1)", to_time(NOW + 9)
        )
        await append(database, "quick")
        await polls.poll()
        monotonic.now = 59
        await polls.poll()
        assert revoked(known, ["slow", "quick"]) == ["quick"]
    await polls.poll()
    assert revoked(known, ["slow", "quick"]) == ["slow", "quick"]


async def test_poll_does_not_read_what_is_settled_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Revocations(Clock())
    monotonic = Clock(0)
    polls = reader(database, known, monotonic)
    read: list[str | None] = []
    monkeypatch.setattr(known, "load", lambda page: read.extend(one.login_id for one in page))
    await append(database, "l1")
    await polls.poll()
    monotonic.now = 30
    await append(database, "l2")
    await polls.poll()
    monotonic.now = 61
    await polls.poll()
    assert read == ["l1", "l1", "l2", "l2"]


async def test_poll_leaves_out_what_is_over(database: Database) -> None:
    await append(database, "l1")
    accounts = Accounts(database)
    late = to_time(NOW) + timedelta(seconds=900)
    assert await accounts.list_revocations(0, now=late, limit=10) == []
