"""Where a session stands in each conversation: live, lagging, finished; each conversation of the hello marked once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.delivery.subscriptions import Lag, Subscriptions
from storage.postgres.log.messages import TOP_SEQ


def make_subscriptions() -> Subscriptions:
    return Subscriptions(wake=lambda: None)


conversation_ids = st.sampled_from("abcdef")


@given(st.sets(conversation_ids), st.lists(conversation_ids, max_size=30))
def test_each_conversation_is_marked_once_and_complete_comes_once_with_the_last(wanted, arrivals):
    subscriptions = make_subscriptions()
    for name in wanted:
        subscriptions.fall_behind(name, 0)
    subscriptions.begin_catching_up()
    marks = [(name, *subscriptions.note_caught_up(name)) for name in arrivals]
    names = [name for name, is_news, _ in marks if is_news]
    assert len(names) == len(set(names))
    assert set(names) == wanted & set(arrivals)
    completes = [is_complete for _, _, is_complete in marks if is_complete]
    assert completes == ([True] if wanted and set(names) == wanted else [])
    if completes:
        assert [name for name, _, is_complete in marks if is_complete] == names[-1:]


@given(st.integers(1, 12), st.integers(1, 5))
def test_no_backlog_waits_for_more_than_one_round(total, count):
    subscriptions = make_subscriptions()
    for nth in range(total):
        subscriptions.fall_behind(f"g{nth}", 0)
    rounds = -(-total // count)
    for _ in range(3):
        served = [name for _ in range(rounds) for name, _ in subscriptions.next_lags(count)]
        assert set(served) == set(subscriptions.lags)
    assert len(subscriptions.next_lags(count)) == min(count, total)


# Where a session may stand in a conversation, and each thing that may happen there. A cell has what is left: whether it
# is attached, its lag, and its last seq as a former member. What the table does not name leaves things as they are.
LIVE = (True, None, None)
ELSEWHERE = (False, None, None)
LAGGING = (True, Lag(3, 2, end_seq=5), None)
FINISHED = (False, None, 4)
REMOVED = (True, Lag(3, TOP_SEQ, is_member=False, end_seq=5), None)
RETURNED = (True, Lag(3, TOP_SEQ, end_seq=5), None)
STARTS = {
    "elsewhere": ELSEWHERE,
    "live": LIVE,
    "lagging": LAGGING,
    "finished": FINISHED,
    "removed": REMOVED,
    "returned": RETURNED,
}
STEPS = {
    "attach": lambda s: s.attach("g"),
    "detach": lambda s: s.detach("g"),
    "fall_behind": lambda s: s.fall_behind("g", 3, 2, end_seq=5),
    "finish": lambda s: s.finish("g", 4),
    "note_removal": lambda s: s.note_removal("g", 4),
    "note_return": lambda s: s.note_return("g"),
    "drop_lags": lambda s: s.drop_lags(),
}
CHANGES = {
    ("elsewhere", "attach"): LIVE,
    ("finished", "attach"): LIVE,
    ("live", "detach"): ELSEWHERE,
    ("lagging", "detach"): (False, *LAGGING[1:]),
    ("removed", "detach"): (False, *REMOVED[1:]),
    ("returned", "detach"): (False, *RETURNED[1:]),
    ("elsewhere", "fall_behind"): (False, *LAGGING[1:]),
    ("finished", "fall_behind"): (False, LAGGING[1], 4),
    **{(name, "fall_behind"): LAGGING for name in ("live", "removed", "returned")},
    **{(name, "finish"): (*STARTS[name][:2], 4) for name in STARTS},
    **{(name, "note_removal"): (*STARTS[name][:2], 4) for name in ("elsewhere", "live", "finished")},
    ("lagging", "note_removal"): REMOVED,
    ("returned", "note_removal"): REMOVED,
    ("lagging", "note_return"): RETURNED,
    ("removed", "note_return"): RETURNED,
    **{(name, "drop_lags"): LIVE for name in ("lagging", "removed", "returned")},
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("start", STARTS)
def test_every_step_from_everywhere(start, step):
    is_attached, lag, finished = STARTS[start]
    subscriptions = make_subscriptions()
    if is_attached:
        subscriptions.attach("g")
    if lag is not None:
        subscriptions.fall_behind("g", lag.position, lag.floor_seq, is_member=lag.is_member, end_seq=lag.end_seq)
    if finished is not None:
        subscriptions.finish("g", finished)
    STEPS[step](subscriptions)
    left = ("g" in subscriptions.conversation_ids, subscriptions.lags.get("g"), subscriptions.finished.get("g"))
    assert left == CHANGES.get((start, step), STARTS[start])


@pytest.mark.parametrize(
    ("start", "is_member", "is_done_by_removal", "is_placed_by_return"),
    [
        ("elsewhere", False, True, False),
        ("live", True, True, False),
        ("lagging", True, False, True),
        ("finished", False, True, False),
        ("removed", False, False, True),
        ("returned", True, False, True),
    ],
)
def test_what_each_place_answers(start, is_member, is_done_by_removal, is_placed_by_return):
    def placed() -> Subscriptions:
        is_attached, lag, _ = STARTS[start]
        subscriptions = make_subscriptions()
        if is_attached:
            subscriptions.attach("g")
        if lag is not None:
            subscriptions.fall_behind("g", lag.position, lag.floor_seq, is_member=lag.is_member)
        return subscriptions

    assert placed().is_in("g") == is_member
    assert placed().note_removal("g", 4) == is_done_by_removal
    assert placed().note_return("g") == is_placed_by_return


def test_lag_never_goes_back_and_its_floor_never_falls():
    lag = Lag(3, 2)
    lag.advance(5)
    lag.advance(4)
    lag.limit(is_member=True, floor_seq=7)
    lag.limit(is_member=False, floor_seq=6)
    assert (lag.position, lag.floor_seq, lag.is_member) == (5, 7, False)


def test_begin_and_end_of_a_lag_wake():
    woken = []
    subscriptions = Subscriptions(wake=lambda: woken.append(dict(subscriptions.lags)))
    subscriptions.fall_behind("g", 3)
    subscriptions.catch_up("g")
    assert woken == [{"g": Lag(3, 1)}, {}]


def test_last_own_seq_of_a_conversation_counts():
    subscriptions = make_subscriptions()
    for seq in (3, 5, 4):
        subscriptions.note_stored("g", seq)
    assert subscriptions.own_seqs == {"g": 5}
