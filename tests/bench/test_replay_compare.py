"""The comparison finds whatever is lost, doubled, swapped or changed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.replay.compare import (
    ADDED,
    MESSAGE,
    REMOVED,
    Entry,
    accepted_entries,
    compare_entries,
    compare_ranges,
    cut_to_stay,
    list_overtakings,
    member_ranges,
    ordered_entries,
)
from bench.replay.names import HOST
from bench.replay.plan import Counts, Join, Leave, Plan, Say
from bench.replay.tally import Tally

SAYS = [Say(number, 0, "ada" if number % 2 else "bob", "message", f"text {number}") for number in range(1, 8)]
LOG = [Entry(seq, say.sender, MESSAGE, say.text, say.kind) for seq, say in enumerate(SAYS, start=1)]


def test_equal_logs_have_no_findings() -> None:
    assert compare_entries(LOG, list(LOG)) == []


@given(st.integers(0, len(LOG) - 1))
def test_lost_entry_is_found(at: int) -> None:
    assert any("missing" in what for what in compare_entries(LOG, LOG[:at] + LOG[at + 1 :]))


@given(st.integers(0, len(LOG) - 1), st.integers(0, len(LOG)))
def test_doubled_entry_is_found(at: int, to: int) -> None:
    assert any("2 times" in what for what in compare_entries(LOG, [*LOG[:to], LOG[at], *LOG[to:]]))


@given(st.permutations(LOG).filter(lambda entries: entries != LOG))
def test_other_order_is_found(entries: list[Entry]) -> None:
    assert any("came after" in what for what in compare_entries(LOG, entries))


@pytest.mark.parametrize("change", [{"text": "else"}, {"sender": "eve"}, {"what": ADDED}, {"style": "action"}])
def test_changed_entry_is_found(change: dict[str, str]) -> None:
    changed = [*LOG[:3], replace(LOG[3], **change), *LOG[4:]]  # type: ignore[arg-type]  # texts alone
    assert len(compare_entries(LOG, changed)) == 1


def test_texts_that_changed_places_are_found() -> None:
    swapped = [replace(LOG[0], text=LOG[1].text), replace(LOG[1], text=LOG[0].text), *LOG[2:]]
    assert len(compare_entries(LOG, swapped)) == 2


def test_entry_that_is_not_due_is_found() -> None:
    assert compare_entries(LOG, [*LOG, Entry(len(LOG) + 1, "eve", MESSAGE, "psst")])


def test_ordered_log_has_the_changes_of_members_in_their_places() -> None:
    steps = (SAYS[0], Join(2, 0, "cy"), Leave(3, 0, "bob", "bob"), Leave(4, 0, "cy", HOST))
    plan = Plan("room", ("ada", "bob"), steps, ("ada",), Counts())
    assert ordered_entries(plan, [["zoe", "dan"]]) == [
        Entry(1, HOST, ADDED, "dan zoe"),
        Entry(2, "ada", MESSAGE, "text 1", "message"),
        Entry(3, HOST, ADDED, "cy"),
        Entry(4, "bob", REMOVED, "bob"),
        Entry(5, HOST, REMOVED, "cy"),
    ]


def test_accepted_seqs_make_the_log() -> None:
    accepted = {1: 2, 2: 1, 3: 3}
    assert [entry.text for entry in accepted_entries(SAYS[:3], accepted)] == ["text 2", "text 1", "text 3"]


@pytest.mark.parametrize("accepted", [{1: 1, 2: 2}, {1: 1, 2: 2, 3: 2}, {1: 1, 2: 2, 3: 4}, {1: 2, 2: 3, 3: 4}])
def test_accepted_seqs_with_a_hole_or_a_double_are_refused(accepted: dict[int, int]) -> None:
    with pytest.raises(ValueError, match=r"accepted"):
        accepted_entries(SAYS[:3], accepted)


def test_only_a_senders_own_lines_must_keep_their_order() -> None:
    assert list_overtakings(SAYS[:3], {1: 2, 2: 1, 3: 3}) == []
    assert list_overtakings(SAYS[:3], {1: 3, 2: 2, 3: 1}) == ["ada: line 3 got a seq below that of line 1"]


def test_members_see_from_their_coming_to_their_going() -> None:
    entries = [
        Entry(1, "ada", MESSAGE, "a"),
        Entry(2, HOST, ADDED, "bob cy"),
        Entry(3, "bob", REMOVED, "bob"),
        Entry(4, HOST, ADDED, "bob"),
        Entry(5, "ada", REMOVED, "ada"),
        Entry(6, "cy", MESSAGE, "c"),
    ]
    assert member_ranges(entries, ["ada", "eve"]) == {
        "ada": [(1, 5)],
        "eve": [(1, 6)],
        "bob": [(2, 3), (4, 6)],
        "cy": [(2, 6)],
    }


def test_ranges_are_compared_by_what_they_cover() -> None:
    assert compare_ranges([(2, 3), (4, 6)], [(2, 6)]) == []
    assert compare_ranges([(2, 6)], [(2, 4), (6, 6)])
    assert compare_ranges([(2, 6)], [(2, 7)])
    assert compare_ranges([], [(1, 1)])


def test_who_was_online_for_a_while_must_have_seen_that_while() -> None:
    due = [(3, 8), (12, 20)]
    assert compare_ranges(cut_to_stay(due, [(5, 8), (12, 14)], [6, 13]), [(5, 8), (12, 14)]) == []
    assert compare_ranges(cut_to_stay(due, [(5, 6), (8, 8)], [6]), [(5, 6), (8, 8)])
    assert compare_ranges(cut_to_stay(due, [(6, 7)], [6, 8]), [(6, 7)])
    assert compare_ranges(cut_to_stay(due, [(7, 8)], [6, 8]), [(7, 8)])
    assert compare_ranges(cut_to_stay(due, [(5, 9)], [6]), [(5, 9)])
    assert compare_ranges(cut_to_stay(due, [], [6]), [])
    assert compare_ranges(cut_to_stay(due, [], []), []) == []


def test_tally_finds_doubles_and_gaps() -> None:
    tally = Tally()
    assert [tally.add(seq) for seq in (1, 2, 4, 4, 3)] == [True, True, True, False, False]
    assert tally.ranges == [(1, 2), (4, 4)]
    assert len(tally.faults) == 2


def test_tally_allows_repeats_on_a_later_stream_only() -> None:
    tally = Tally()
    for seq in (1, 2, 3):
        tally.add(seq)
    tally.begin_stream()
    assert [tally.add(seq) for seq in (2, 3, 4, 4)] == [False, False, True, False]
    assert (tally.repeats, tally.ranges, len(tally.faults)) == (2, [(1, 4)], 1)
