"""What may wait to be stored: in all, and of one sender."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import Overloaded
from service.messages.budget import Budget
from service.messages.submission import Submission
from storage.records import Draft
from tests.support.desks import NoTicket

MAX_MESSAGES, MAX_BYTES = 16, 1600


async def waiting(sender: str, count: int, size_bytes: int = 10) -> list[Submission]:
    draft = Draft("g", sender, "r", b"", size_bytes)
    return [Submission(draft, b"", NoTicket(), 0) for _ in range(count)]


async def test_sender_may_hold_a_quarter_of_the_messages_and_the_others_go_on():
    budget = Budget(40)
    budget.take(await waiting("ann", 10))
    with pytest.raises(Overloaded, match="of yours"):
        budget.take(await waiting("ann", 1))
    budget.take(await waiting("bob", 10))
    assert budget.count == 20


async def test_bytes_are_bounded_for_one_and_for_all():
    budget = Budget(1000, max_bytes=400)
    with pytest.raises(Overloaded, match="of yours"):
        budget.take(await waiting("ann", 2, size_bytes=51))
    for sender in ("ann", "bob", "cid", "dan"):
        budget.take(await waiting(sender, 1, size_bytes=100))
    with pytest.raises(Overloaded, match="messages waiting"):
        budget.take(await waiting("eve", 1, size_bytes=1))


async def test_refused_messages_leave_no_trace_and_given_back_ones_make_room():
    budget = Budget(8)
    mixed = await waiting("ann", 2) + await waiting("bob", 3)
    with pytest.raises(Overloaded):
        budget.take(mixed)
    assert budget.count == 0
    taken = mixed[:4]
    budget.take(taken)
    for submission in taken:
        budget.give_back([submission])
    budget.take(taken)
    assert budget.count == 4


def of(sender: str, count: int, size_bytes: int = 1) -> list[Submission]:
    draft = Draft("g", sender, "r", b"", size_bytes)
    return [Submission(draft, b"", NoTicket(), 0) for _ in range(count)]


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
            budget.give_back([held.pop(0)])
    for one in held:
        budget.give_back([one])
    assert budget.count == 0
    # Nothing is remembered of those who wait no more: a whole share fits again.
    for sender in "abcd":
        budget.take(of(sender, MAX_MESSAGES // 4, 100))
