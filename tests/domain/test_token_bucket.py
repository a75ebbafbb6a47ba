"""Token buckets against plain models of them: how much passes, when it refills, and clocks that jump back."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.token_bucket import Rate, TokenBucket, TokenBuckets

# Eighths of a second and powers of two are exact in floats, so that models can be exact, too.
BURSTS = st.integers(1, 6)
RATES = st.sampled_from([0.25, 0.5, 1.0, 2.0, 8.0])
STEPS = st.integers(0, 80).map(lambda eighths: eighths / 8)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(BURSTS, RATES, st.lists(STEPS, max_size=40))
def test_takes_exactly_what_no_window_forbids(burst: int, per_second: float, steps: list[float]) -> None:
    clock = Clock()
    bucket = TokenBucket(Rate(burst, per_second), clock)
    taken: list[float] = []
    for step in steps:
        clock.now += step
        is_allowed = all(
            len(taken) - first + 1 <= burst + per_second * (clock.now - begin) for first, begin in enumerate(taken)
        )
        assert bucket.take() is is_allowed
        if is_allowed:
            taken.append(clock.now)


@given(BURSTS, RATES, st.lists(st.tuples(STEPS, st.booleans()), max_size=40))
def test_tokens_that_are_given_back_never_overfill(
    burst: int, per_second: float, steps: list[tuple[float, bool]]
) -> None:
    clock = Clock()
    bucket = TokenBucket(Rate(burst, per_second), clock)
    tokens = Fraction(burst)
    for step, is_given_back in steps:
        clock.now += step
        tokens = min(Fraction(burst), tokens + Fraction(step) * Fraction(per_second))
        if is_given_back:
            bucket.give_back()
            tokens = min(Fraction(burst), tokens + 1)
        elif bucket.take():
            tokens -= 1
            assert tokens >= 0
        else:
            assert tokens < 1
        assert bucket.wait_seconds() == max(0, (1 - tokens) / Fraction(per_second))


@given(BURSTS, RATES, st.lists(st.integers(-80, 80).map(lambda eighths: eighths / 8), max_size=40))
def test_clock_that_jumps_back_lets_nothing_more_through(burst: int, per_second: float, steps: list[float]) -> None:
    clock = Clock()
    bucket = TokenBucket(Rate(burst, per_second), clock)
    passed_seconds = 0.0
    taken: list[float] = []
    for step in steps:
        clock.now += step
        passed_seconds += max(step, 0.0)  # what a clock that only goes on would say
        if bucket.take():
            taken.append(passed_seconds)
        for first, begin in enumerate(taken):
            assert len(taken) - first <= burst + per_second * (passed_seconds - begin)


@given(BURSTS, RATES, st.integers(1, 10**6))
def test_clock_that_jumps_back_holds_nobody_up_longer(burst: int, per_second: float, back_seconds: int) -> None:
    clock = Clock()
    bucket = TokenBucket(Rate(burst, per_second), clock)
    for _ in range(burst):
        assert bucket.take()
    clock.now -= back_seconds
    assert not bucket.take()
    assert bucket.wait_seconds() == 1 / per_second
    clock.now += 1 / per_second
    assert bucket.wait_seconds() == 0
    assert bucket.take()
    assert not bucket.take()


@pytest.mark.parametrize("burst", [1, 10])
def test_full_bucket_has_its_burst_and_no_more_however_long_it_waited(burst: int) -> None:
    clock = Clock()
    bucket = TokenBucket(Rate(burst, 5), clock)
    for _ in range(2):
        assert [bucket.take() for _ in range(burst + 1)] == [True] * burst + [False]
        clock.now += 86_400


def test_refused_takes_do_not_make_the_wait_longer() -> None:
    clock = Clock()
    bucket = TokenBucket(Rate(1, 0.1), clock)
    assert bucket.take()
    for _ in range(9):
        clock.now += 1
        assert not bucket.take()
    clock.now += 1
    assert bucket.take()


def test_each_key_has_a_bucket_of_its_own_and_is_told_its_wait() -> None:
    clock = Clock()
    buckets = TokenBuckets(Rate(2, 0.5), max_count=10, clock=clock)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 2, 2]
    assert buckets.take("b") == 0
    clock.now += 0.5
    assert buckets.take("a") == 1.5
    clock.now += 1.5
    assert buckets.take("a") == 0
    assert buckets.take("a") == 2


def test_another_rate_is_in_force_for_buckets_that_are_there_and_those_that_come() -> None:
    clock = Clock()
    rate = Rate(2, 0.5)
    buckets = TokenBuckets(rate, max_count=10, clock=clock)
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 2]
    buckets.limit(Rate(3, 0.25))
    assert rate == Rate(2, 0.5)
    assert buckets.take("a") == 4
    assert [buckets.take("b") for _ in range(4)] == [0, 0, 0, 4]
    clock.now += 3600
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 4]
    buckets.limit(Rate(1, 1))
    clock.now += 3600
    assert [buckets.take("a") for _ in range(2)] == [0, 1]


def test_memory_is_bounded_and_the_longest_unused_is_forgotten_first() -> None:
    buckets = TokenBuckets(Rate(2, 0.5), max_count=3, clock=Clock())
    for key in ("a", "b", "c"):
        buckets.take(key)
        buckets.take(key)
    buckets.give_back("a")  # as good as a take: "b" is now the longest unused
    buckets.take("d")
    assert len(buckets) == 3
    assert buckets.take("c") == 2
    assert buckets.take("a") == 0
    assert buckets.take("a") == 2
    assert buckets.take("b") == 0  # it was forgotten, so it is full again
    assert len(buckets) == 3


def test_giving_back_to_a_key_that_nobody_used_makes_no_bucket() -> None:
    buckets = TokenBuckets(Rate(2, 0.5), max_count=3, clock=Clock())
    buckets.give_back("a")
    assert len(buckets) == 0
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 2]


def test_token_that_is_given_back_does_not_count_the_time_before_twice() -> None:
    clock = Clock()
    bucket = TokenBucket(Rate(3, 0.5), clock)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    clock.now += 1
    bucket.give_back()
    assert bucket.take()
    assert bucket.wait_seconds() == 1
