"""What may wait to be stored: all or none of a frame is taken, and no sender keeps out the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.v1 import message_pb2

from service.delivery.budget import Budget
from service.delivery.submission import Submission
from service.errors import Overloaded
from tests.support.lanes import draft

MAX_MESSAGES, MAX_BYTES = 16, 1600


class NoTicket:
    """Nobody waits."""

    def settle(self, index: int, outcome: object) -> None: ...


def of(sender: str, count: int, size_bytes: int = 1) -> list[Submission]:
    return [
        Submission(draft("g", sender, size_bytes=size_bytes), message_pb2.Message(), NoTicket(), 0)
        for _ in range(count)
    ]


frames = st.lists(
    st.tuples(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 150)), max_size=6), st.booleans()),
    max_size=25,
)


@given(frames)
def test_bounds_hold_for_all_and_for_each_and_everything_is_given_back(frames):
    budget = Budget(MAX_MESSAGES, MAX_BYTES)
    held: list[Submission] = []
    for parts, is_given_back in frames:
        frame = [one for sender, size in parts for one in of(sender, 1, size)]
        after = held + frame
        sizes = {sender: [one.draft.size_bytes for one in after if one.draft.sender == sender] for sender in "abcdef"}
        touched = {one.draft.sender for one in frame}
        fits = (
            len(after) <= MAX_MESSAGES
            and sum(map(sum, sizes.values())) <= MAX_BYTES
            and all(len(sizes[name]) <= MAX_MESSAGES // 4 and sum(sizes[name]) <= MAX_BYTES // 4 for name in touched)
        )
        if fits:
            budget.take(frame)
            held = after
        else:
            with pytest.raises(Overloaded):
                budget.take(frame)
        assert budget.count == len(held)
        if is_given_back and held:
            budget.give_back(held.pop(0))
    for one in held:
        budget.give_back(one)
    assert budget.count == 0
    # Nothing is remembered of those who wait no more: a whole share fits again.
    for sender in "abcd":
        budget.take(of(sender, MAX_MESSAGES // 4, 100))


def test_flood_of_one_leaves_room_for_the_others():
    budget = Budget(MAX_MESSAGES, MAX_BYTES)
    budget.take(of("a", 4))
    with pytest.raises(Overloaded, match="of yours"):
        budget.take(of("a", 1))
    budget.take(of("b", 4))
