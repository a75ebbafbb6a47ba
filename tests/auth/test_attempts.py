import pytest

from service.auth.attempts import Attempts
from service.domain.errors import RateLimited
from tests.auth.rings import Clock


def attempts(clock: Clock, *, account: int = 3, address: int = 100) -> Attempts:
    return Attempts(per_account_per_minute=account, per_address_per_minute=address, clock=clock)


def test_attempts_above_the_limit_are_told_when_to_come_again() -> None:
    clock = Clock(0)
    limits = attempts(clock)
    for _ in range(3):
        limits.check_account("alice")
    for _ in range(2):
        with pytest.raises(RateLimited) as refusal:
            limits.check_account("alice")
        assert refusal.value.retry_after_seconds == 20
    limits.check_account("bob")
    clock.now = 19.9
    with pytest.raises(RateLimited):
        limits.check_account("alice")
    clock.now = 20
    limits.check_account("alice")


def test_bucket_never_holds_more_than_a_minute() -> None:
    clock = Clock(0)
    limits = attempts(clock)
    limits.check_account("alice")
    clock.now = 3600
    for _ in range(3):
        limits.check_account("alice")
    with pytest.raises(RateLimited):
        limits.check_account("alice")


def test_success_costs_nothing_and_fills_nothing() -> None:
    limits = attempts(Clock(0))
    for _ in range(2):
        limits.check_account("alice")
    for _ in range(10):
        limits.check_account("alice")
        limits.give_back("alice")
    limits.check_account("alice")
    with pytest.raises(RateLimited):
        limits.check_account("alice")


def test_giving_back_to_a_full_bucket_does_not_overfill_it() -> None:
    limits = attempts(Clock(0))
    limits.give_back("alice")
    for _ in range(3):
        limits.check_account("alice")
    with pytest.raises(RateLimited):
        limits.check_account("alice")


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("2001:db8::1", "2001:db8::8000:0:0:1", True),
        ("one name", "another name", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "", True),
    ],
)
def test_addresses_of_one_network_count_as_one(first: str, second: str, is_same: bool) -> None:
    limits = attempts(Clock(0), address=1)
    limits.check_address(first)
    if is_same:
        with pytest.raises(RateLimited):
            limits.check_address(second)
    else:
        limits.check_address(second)


def test_memory_is_bounded_and_the_busy_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.auth.attempts._MAX_BUCKETS", 10)
    limits = attempts(Clock(0), account=100)
    for number in range(50):
        limits.check_account("alice")
        limits.check_account(f"user{number}")
    assert len(limits._accounts) == 10
    for _ in range(50):
        limits.check_account("alice")
    with pytest.raises(RateLimited):
        limits.check_account("alice")


def test_other_limits_are_in_force_at_once_for_accounts_and_addresses() -> None:
    limits = attempts(Clock(0), account=3, address=3)
    limits.check_account("alice")
    limits.check_address("10.0.0.1")
    limits.limit(per_account_per_minute=1, per_address_per_minute=2)
    for check, key, count, wait_seconds in (
        (limits.check_account, "alice", 1, 60),
        (limits.check_account, "bob", 1, 60),
        (limits.check_address, "10.0.0.1", 2, 30),
        (limits.check_address, "10.0.0.2", 2, 30),
    ):
        for _ in range(count):
            check(key)
        with pytest.raises(RateLimited) as refusal:
            check(key)
        assert refusal.value.retry_after_seconds == wait_seconds


def test_refusal_says_what_there_was_too_much_of() -> None:
    limits = attempts(Clock(0), account=1, address=1)
    limits.check_account("alice")
    limits.check_address("10.0.0.1")
    with pytest.raises(RateLimited, match="attempts on this account"):
        limits.check_account("alice")
    with pytest.raises(RateLimited, match="attempts from your address"):
        limits.check_address("10.0.0.1")
