"""The schedule of attempts, and dealing places round."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from service.domain.retry import RetrySchedule, deal


def test_waits_double_up_to_the_longest_and_there_is_one_less_than_attempts() -> None:
    assert RetrySchedule(0.1, 10.0, 5).waits_seconds == (0.1, 0.2, 0.4, 0.8)
    assert RetrySchedule(0.1, 10.0, 10).waits_seconds[-3:] == (6.4, 10.0, 10.0)
    assert RetrySchedule(0.1, 10.0, 1).waits_seconds == ()


@given(st.floats(0, 3600), st.floats(0, 3600), st.integers(1, 1000))
def test_no_wait_is_longer_than_allowed_or_shorter_than_the_one_before(first: float, most: float, count: int) -> None:
    waits = RetrySchedule(first, most, count).waits_seconds
    assert len(waits) == count - 1
    assert all(0 <= wait <= most for wait in waits)
    assert list(waits) == sorted(waits)


@given(st.dictionaries(st.integers(1, 9), st.integers(0, 20), max_size=6), st.integers(0, 60))
def test_places_are_dealt_evenly_as_far_as_there_is_room(rooms: dict[int, int], limit: int) -> None:
    dealt = Counter(deal(list(rooms.items()), limit))
    assert dealt.total() == min(limit, sum(rooms.values()))
    for owner, count in dealt.items():
        assert count <= rooms[owner]
        # Who has less than another by more than one has no more room.
        assert all(other <= count + 1 or count == rooms[owner] for other in dealt.values())
