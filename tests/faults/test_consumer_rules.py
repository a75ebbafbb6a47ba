"""The rules about consumer groups: a history in which all is well passes, and each rule finds what it is there for."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.checker import check
from tests.faults.consumer_rules import CONSUMER_RULES
from tests.faults.history import Entry, Handing, History, Letter, Scene, Settling, StreamEnd, Terms, Unsettled, Verdict

TERMS = Terms("svc", is_ordered=False, deadline_seconds=3.0, max_attempts=2)
SCENE = Scene(
    {"c": frozenset({"ann", "svc"})}, {}, groups={"svc/any": TERMS, "svc/row": replace(TERMS, is_ordered=True)}
)
LOG = [Entry("c", seq, "ann", f"r{seq}", f"text of r{seq}") for seq in (1, 2, 3)]


def handing(time: float, seq: int, attempt: int = 1, *, group: str = "svc/any", stream: int = 1) -> Handing:
    return Handing(time, group, stream, "c", seq, "ann", f"r{seq}", f"text of r{seq}", attempt)


def settling(time: float, seq: int, verdict: Verdict = Verdict.ACK, *, group: str = "svc/any") -> Settling:
    return Settling(time, group, 1, "c", seq, verdict, f"bad at {time}" if verdict is Verdict.NACK else "")


def good(group: str = "svc/any") -> History:
    """The second of three messages is nacked twice, dies, and is acked when it is redriven."""
    handings = [handing(1, 1, group=group), handing(2, 2, group=group), handing(4, 2, 2, group=group)]
    words = [settling(1.1, 1, Verdict.ACK, group=group), settling(1.2, 1, Verdict.ACKED, group=group)]
    words += [settling(time, 2, Verdict.NACK, group=group) for time in (2.1, 4.1)]
    handings += [handing(5, 3, group=group), handing(11, 2, group=group)]
    words += [settling(time, seq, group=group) for time, seq in ((5.1, 3), (11.1, 2))]
    letter = Letter(group, "c", 2, "ann", "r2", "text of r2", attempts=2, last_reason="bad at 4.1")
    ends = [StreamEnd(12, group, 1, may_count=False, is_answered=True)]
    return History(handings=handings, settlings=words, stream_ends=ends, letters=[letter], redrive_time=10.0)


def broken(history: History, group: str = "svc/any") -> set[str]:
    scene = replace(SCENE, groups={group: SCENE.groups[group]})
    return {violation.rule for violation in check(scene, history, LOG, CONSUMER_RULES)}


@pytest.mark.parametrize("group", SCENE.groups)
def test_history_in_which_all_is_well_passes(group: str) -> None:
    assert broken(good(group), group) == set()


def give_another(history: History) -> None:
    history.handings[0] = replace(history.handings[0], text="another")


def never_give(history: History) -> None:
    del history.handings[3]


def leave_unsettled(history: History) -> None:
    history.unsettled.append(Unsettled("svc/any", "c", 3))


def settle_nothing(history: History) -> None:
    history.settlings[:] = [word for word in history.settlings if word.seq != 3]


def give_to_two(history: History) -> None:
    history.settlings[:] = [word for word in history.settlings if word.verdict is not Verdict.ACKED]
    history.handings.insert(1, handing(2, 1, 2, stream=2))


def forget_the_attempt(history: History) -> None:
    history.handings[2] = replace(history.handings[2], attempt=1)


def try_too_often(history: History) -> None:
    history.handings.insert(3, handing(4.5, 2, 3))


def bring_back(history: History) -> None:
    history.handings.insert(4, handing(6, 1, 2))


def bring_back_after_the_end(history: History) -> None:
    history.handings.append(handing(15, 3, 2, stream=2))


def bury_what_was_acked(history: History) -> None:
    history.letters.append(replace(history.letters[0], seq=1, request_id="r1", text="text of r1"))


def bury_another(history: History) -> None:
    history.letters[0] = replace(history.letters[0], text="another")


def bury_too_early(history: History) -> None:
    history.letters[0] = replace(history.letters[0], attempts=1)


def forget_the_reason(history: History) -> None:
    history.letters[0] = replace(history.letters[0], last_reason="bad at 2.1")


def forget_the_redriven(history: History) -> None:
    del history.handings[4]


def keep_the_letter(history: History) -> None:
    history.letters_left = history.letters


Break = Callable[[History], None]


@pytest.mark.parametrize(
    ("how", "rule"),
    [
        (give_another, "handed_is_in_log"),
        (never_give, "handed_whole"),
        (leave_unsettled, "settled_whole"),
        (settle_nothing, "settled_whole"),
        (give_to_two, "held_by_one"),
        (forget_the_attempt, "attempts_are_kept"),
        (try_too_often, "attempts_are_kept"),
        (bring_back, "acked_is_over"),
        (bring_back_after_the_end, "acked_is_over"),
        (bury_what_was_acked, "acked_is_over"),
        (bury_another, "dead_letters_are_true"),
        (bury_too_early, "dead_letters_are_true"),
        (forget_the_reason, "dead_letters_are_true"),
        (forget_the_redriven, "redriven_comes_again"),
        (keep_the_letter, "redriven_comes_again"),
    ],
)
def test_each_rule_finds_what_it_is_there_for(how: Break, rule: str) -> None:
    history = good()
    how(history)
    assert rule in broken(history)


@pytest.mark.parametrize(
    "early",
    [handing(3, 3, group="svc/row"), handing(0.5, 2, group="svc/row")],
    ids=["before what failed is settled", "before what was there first"],
)
def test_order_that_is_not_kept_is_found(early: Handing) -> None:
    history = good("svc/row")
    history.handings.insert(2, early)
    assert "ordered_keeps_order" in broken(history, "svc/row")


def test_order_that_is_not_kept_by_what_comes_again_is_found() -> None:
    history = good("svc/row")
    history.settlings[:] = [word for word in history.settlings if word.verdict is not Verdict.ACKED]
    history.stream_ends.clear()
    history.handings.insert(4, handing(7, 1, 2, group="svc/row"))
    assert broken(history, "svc/row") == {"ordered_keeps_order"}


def test_every_rule_has_a_row_above() -> None:
    (mark,) = test_each_rule_finds_what_it_is_there_for.pytestmark
    assert {row[1] for row in mark.args[1]} == set(CONSUMER_RULES) - {"ordered_keeps_order"}


@pytest.mark.parametrize("moment", [4.2, 1.0], ids=["the deadline has passed", "its stream was over"])
def test_what_is_given_up_may_come_to_another_stream(moment: float) -> None:
    history = good()
    history.settlings[:] = [word for word in history.settlings if word.verdict is not Verdict.ACKED]
    history.handings[0] = handing(0.9, 1, stream=2)
    history.handings.insert(1, handing(moment, 1, 2))
    if moment < 2:
        history.stream_ends.append(StreamEnd(1.5, "svc/any", 2, may_count=True, is_answered=False))
    history.stream_ends.pop(0)  # its acks were not answered
    assert broken(history) == set()


def test_attempt_that_ended_cleanly_may_have_the_same_number() -> None:
    history = good()
    history.handings[1] = handing(1.5, 2, 2, stream=2)
    history.settlings[:] = [word for word in history.settlings if word.time != 2.1]
    history.stream_ends.append(StreamEnd(3.9, "svc/any", 2, may_count=False, is_answered=False))
    assert broken(history) == set()
