"""Where a session begins, as a table: what the hello says, what the log and the channel have, and what comes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.delivery.attach import Behind, Hello, Plan, conversations_of, foreign_epochs, plan_hello, plan_more
from service.domain.errors import ConversationNotFound
from storage.records import SubscriptionStart

NOW = 4  # the present epoch


def start(
    *, last_seq: int = 9, start_seq: int = 5, cursor_epoch: int = 0, floor_seq: int = 1, is_member: bool = True
) -> SubscriptionStart:
    return SubscriptionStart("g", last_seq, start_seq, cursor_epoch, floor_seq, is_member)


def hello(*, has: int | None = None, latest: bool = False, epoch: int = 0) -> Hello:
    return Hello({} if has is None else {"g": has}, latest, epoch)


def behind(position: int, *, floor_seq: int = 1, is_member: bool = True, end_seq: int = 9) -> list[Behind]:
    return [Behind("g", position, floor_seq, is_member, end_seq)]


LIVE, FORMER = start(), start(is_member=False)
HAS_ALL = start(start_seq=9)
IS_LIVE = [("g", 9)]


@pytest.mark.parametrize(
    ("said", "found", "common", "channel_seq", "expected"),
    [
        pytest.param(hello(), LIVE, None, 9, Plan(behind=behind(5)), id="after the acks"),
        pytest.param(hello(), HAS_ALL, None, 9, Plan(live=IS_LIVE), id="has everything"),
        pytest.param(hello(), HAS_ALL, None, 10, Plan(behind=behind(9)), id="the channel is ahead"),
        pytest.param(hello(), HAS_ALL, None, 8, Plan(behind=behind(9)), id="the channel is behind"),
        pytest.param(hello(latest=True), LIVE, None, 9, Plan(live=IS_LIVE), id="latest"),
        pytest.param(hello(has=9), LIVE, None, 9, Plan(live=IS_LIVE), id="a position instead of the acks"),
        pytest.param(hello(has=3, latest=True), LIVE, None, 9, Plan(behind=behind(3)), id="instead of latest"),
        pytest.param(hello(has=0), LIVE, None, 9, Plan(behind=behind(0)), id="from the beginning"),
        pytest.param(hello(), start(floor_seq=7), None, 9, Plan(behind=behind(5, floor_seq=7)), id="a part is hidden"),
        pytest.param(hello(), FORMER, None, None, Plan(behind=behind(5, is_member=False)), id="former, lacks some"),
        pytest.param(hello(has=9), FORMER, None, None, Plan(), id="former, lacks nothing"),
        pytest.param(hello(has=10), LIVE, None, 9, Plan(live=IS_LIVE, resets=IS_LIVE), id="above the end"),
        pytest.param(
            hello(has=10), LIVE, None, 8, Plan(behind=behind(9, end_seq=0), resets=IS_LIVE), id="above, channel behind"
        ),
        pytest.param(hello(has=10), FORMER, None, None, Plan(resets=IS_LIVE), id="former, above the end"),
        pytest.param(
            hello(has=6), LIVE, 4, 9, Plan(behind=behind(4, end_seq=0), resets=[("g", 4)]), id="another epoch"
        ),
        pytest.param(
            hello(has=3), LIVE, 4, 9, Plan(behind=behind(3, end_seq=0), resets=[("g", 3)]), id="in common still"
        ),
        pytest.param(hello(has=12), LIVE, 11, 9, Plan(live=IS_LIVE, resets=IS_LIVE), id="restored below"),
        pytest.param(
            hello(has=6),
            FORMER,
            4,
            None,
            Plan(behind=behind(4, is_member=False, end_seq=0), resets=[("g", 4)]),
            id="another epoch, former",
        ),
    ],
)
def test_hello(said, found, common, channel_seq, expected):
    common_seqs = {} if common is None else {"g": common}
    positions = {} if channel_seq is None else {"g": channel_seq}
    assert plan_hello(said, [found], common_seqs, positions) == expected


def test_positions_elsewhere_are_refused_and_the_others_count():
    plan = plan_hello(Hello({"x": 1, "g": 9, "y": 2}, False), [LIVE], {}, {"g": 9})
    assert plan.live == IS_LIVE
    assert [type(refusal) for refusal in plan.refusals] == [ConversationNotFound] * 2
    assert [refusal.metadata["conversation_id"] for refusal in plan.refusals] == ["x", "y"]


@pytest.mark.parametrize(
    ("said", "cursor_epoch", "expected"),
    [
        pytest.param(hello(), 0, {}, id="nothing is known"),
        pytest.param(hello(), NOW, {}, id="an ack of now"),
        pytest.param(hello(), 2, {"g": 2}, id="an ack of before"),
        pytest.param(hello(epoch=NOW), 2, {}, id="a hello of now"),
        pytest.param(hello(epoch=3), NOW, {"g": 3}, id="a hello of before"),
        pytest.param(hello(has=1), 2, {}, id="a position of an unknown epoch"),
        pytest.param(hello(has=1, epoch=3), 2, {"g": 3}, id="a position of before"),
        pytest.param(hello(latest=True), 2, {}, id="acks that do not count"),
        pytest.param(hello(latest=True, epoch=3), 2, {}, id="acks that do not count, before"),
        pytest.param(hello(has=1, latest=True, epoch=3), 2, {"g": 3}, id="a position that counts"),
        pytest.param(hello(epoch=7), 0, {"g": 7}, id="an epoch that never was"),
    ],
)
def test_epochs_that_positions_are_of(said, cursor_epoch, expected):
    assert foreign_epochs(said, [start(cursor_epoch=cursor_epoch)], NOW) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [(hello(), False), (hello(epoch=NOW), False), (hello(epoch=3), True), (hello(epoch=3, latest=True), False)],
)
def test_former_conversations_matter_when_the_acks_may_be_void(said, expected):
    assert said.is_of_another_epoch(NOW) == expected


@pytest.mark.parametrize(
    ("found", "attached", "lagging", "finished", "channel_seq", "expected"),
    [
        pytest.param(LIVE, [], [], {}, 9, Plan(behind=behind(5)), id="new"),
        pytest.param(HAS_ALL, [], [], {}, 9, Plan(live=IS_LIVE), id="new, has everything"),
        pytest.param(LIVE, ["g"], [], {}, 9, Plan(), id="live"),
        pytest.param(LIVE, ["g"], ["g"], {}, 9, Plan(), id="lags"),
        pytest.param(LIVE, [], ["g"], {}, 9, Plan(returned=["g"]), id="comes back while the past is brought"),
        pytest.param(LIVE, [], [], {"g": 7}, 9, Plan(behind=behind(7)), id="comes back"),
        pytest.param(LIVE, [], [], {"g": 12}, 9, Plan(live=IS_LIVE), id="comes back to a restored log"),
        pytest.param(FORMER, [], [], {}, None, Plan(behind=behind(5, is_member=False)), id="was removed meanwhile"),
        pytest.param(FORMER, [], ["g"], {}, None, Plan(), id="is being brought to the removal"),
        pytest.param(FORMER, [], [], {"g": 9}, None, Plan(), id="has the removal"),
    ],
)
def test_further_conversations(found, attached, lagging, finished, channel_seq, expected):
    positions = {} if channel_seq is None else {"g": channel_seq}
    assert plan_more([found], positions, attached=attached, lagging=lagging, finished=finished) == expected


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Plan(), [("", 0, True)]),
        (Plan(live=[("g", 9)]), [("g", 9, True)]),
        (Plan(live=[("g", 9), ("h", 2)]), [("g", 9, False), ("h", 2, True)]),
        (Plan(behind=behind(5)), []),
        (Plan(live=[("h", 2)], behind=behind(5)), [("h", 2, False)]),
    ],
)
def test_marks_say_once_that_all_is_brought(plan, expected):
    assert plan.caught_up_marks() == expected


seqs = st.integers(0, 12)
found_starts = st.builds(
    SubscriptionStart, st.just("g"), seqs, seqs, st.integers(0, NOW), st.integers(1, 12), st.booleans()
)


@given(found_starts, st.none() | seqs, st.booleans(), st.none() | seqs, seqs)
def test_nothing_is_skipped_and_nothing_begins_beyond_the_end(found, has, latest, common, channel_seq):
    common_seqs = {} if common is None else {"g": common}
    plan = plan_hello(hello(has=has, latest=latest), [found], common_seqs, {"g": channel_seq})
    asked = has if has is not None else found.last_seq if latest else found.start_seq
    valid = asked if common is None else min(asked, common)
    begun = [seq for _, seq in plan.live] + [one.position for one in plan.behind]
    assert begun == ([min(valid, found.last_seq)] if found.is_member or valid < found.last_seq else [])
    assert all(seq == channel_seq and found.is_member for _, seq in plan.live)
    # The device is told of a position that is void, and of no other.
    assert plan.resets == ([("g", min(valid, found.last_seq))] if common_seqs or asked > found.last_seq else [])
    assert conversations_of([found]) == (["g"] if found.is_member else [])
