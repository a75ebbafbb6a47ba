"""The checker itself: a history in which all is well passes, and each rule finds what it is there for."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.checker import RULES, check
from tests.faults.history import Ack, Delivery, Entry, Event, History, Op, Receipt, Scene

SCENE = Scene(
    {"c": frozenset({"ann", "bob"})}, {"ann/a": "ann", "bob/b": "bob"}, {"ann/a": 2}, {}, frozenset({"ann/a"})
)


def event(time: float, op: Op, request_id: str, *, seq: int = 0, stream: int = 1, **fields: object) -> Event:
    return Event(time, "ann", stream, op, "c", request_id, f"text of {request_id}", seq, **fields)  # type: ignore[arg-type]


def entry(seq: int, request_id: str, **fields: object) -> Entry:
    return Entry("c", seq, "ann", request_id, f"text of {request_id}", **fields)  # type: ignore[arg-type]


def delivery(device: str, seq: int, request_id: str, *, stream: int = 2) -> Delivery:
    return Delivery(9.0 + seq / 10, device, stream, "c", seq, "ann", request_id, f"text of {request_id}")


def good(count: int = 3) -> tuple[History, list[Entry]]:
    """Ann sends r1 to rN and is answered each time; both devices get all."""
    events, names = [], [f"r{seq}" for seq in range(1, count + 1)]
    for seq, name in enumerate(names, 1):
        events += [event(seq, Op.INVOKE, name), event(seq + 0.5, Op.OK, name, seq=seq)]
    deliveries = [
        delivery(device, seq, name, stream=stream)
        for device, stream in (("ann/a", 1), ("bob/b", 2))
        for seq, name in enumerate(names, 1)
    ]
    # Ann's device lets two entries be under way; bob's acknowledges once, reads a part, and ann's hears of it.
    acks = [Ack(9.05 + seq / 10, "ann/a", 1, "c", seq) for seq in range(1, count)]
    acks += [Ack(9.4, "bob/b", 2, "c", 2), Ack(9.4, "bob/b", 2, "c", 1, is_read=True)]
    receipts = [
        Receipt(9.5, "ann/a", "c", "bob", delivered_seq=2, read_seq=1),
        Receipt(20, "ann/a", "c", "ann", delivered_seq=count - 1, read_seq=0),
    ]
    return History(events, deliveries, acks, receipts), [entry(seq, name) for seq, name in enumerate(names, 1)]


def broken(history: History, log: list[Entry], scene: Scene = SCENE) -> set[str]:
    return {violation.rule for violation in check(scene, history, log)}


def test_history_in_which_all_is_well_passes() -> None:
    assert broken(*good()) == set()


Break = Callable[[History, list[Entry]], None]


def lose_a_row(history: History, log: list[Entry]) -> None:
    log.pop()
    history.deliveries[:] = [item for item in history.deliveries if item.seq < 3]


def leave_a_hole(history: History, log: list[Entry]) -> None:
    del log[1]


def store_twice(history: History, log: list[Entry]) -> None:
    log.append(replace(log[0], seq=4, request_id="other"))


def store_twice_with_one_id(history: History, log: list[Entry]) -> None:
    log.append(replace(log[0], seq=4, text="another"))


def hide_the_repeat(history: History, log: list[Entry]) -> None:
    history.events += [event(7, Op.INVOKE, "r1"), event(8, Op.OK, "r1", seq=1)]


def swap_rows(history: History, log: list[Entry]) -> None:
    log[0], log[1] = replace(log[1], seq=1), replace(log[0], seq=2)


def give_twice(history: History, log: list[Entry]) -> None:
    history.deliveries.append(delivery("bob/b", 3, "r3"))


def leave_out(history: History, log: list[Entry]) -> None:
    history.deliveries[:] = [item for item in history.deliveries if item.device != "bob/b" or item.seq != 2]


def never_give_the_last(history: History, log: list[Entry]) -> None:
    history.deliveries.pop()


def give_another(history: History, log: list[Entry]) -> None:
    history.deliveries[-1] = delivery("bob/b", 3, "r9")


def invent(history: History, log: list[Entry]) -> None:
    log.append(entry(4, "r4"))


def give_after_the_removal(history: History, log: list[Entry]) -> None:
    log[1] = replace(log[1], removed=frozenset({"bob"}))


def fill_the_window(history: History, log: list[Entry]) -> None:
    del history.acks[:2]


def keep_the_last_receipt_back(history: History, log: list[Entry]) -> None:
    history.acks.append(Ack(9.7, "bob/b", 2, "c", 3))


def never_tell_what_is_read(history: History, log: list[Entry]) -> None:
    history.acks.append(Ack(9.7, "bob/b", 2, "c", 2, is_read=True))


def claim_to_have_more(history: History, log: list[Entry]) -> None:
    history.receipts.append(Receipt(9.6, "ann/a", "c", "bob", delivered_seq=3, read_seq=2))


@pytest.mark.parametrize(
    ("how", "rule"),
    [
        (lose_a_row, "acknowledged_is_kept"),
        (leave_a_hole, "dense"),
        (store_twice, "one_effect"),
        (store_twice_with_one_id, "one_effect"),
        (hide_the_repeat, "repeat_is_told"),
        (swap_rows, "order_of_streams"),
        (swap_rows, "order_of_time"),
        (give_twice, "delivered_rises"),
        (leave_out, "delivered_without_holes"),
        (never_give_the_last, "delivered_whole"),
        (give_another, "delivered_is_in_log"),
        (invent, "log_was_sent"),
        (give_after_the_removal, "members_only"),
        (fill_the_window, "window_is_kept"),
        (claim_to_have_more, "receipts_in_bounds"),
        (keep_the_last_receipt_back, "receipts_whole"),
        (never_tell_what_is_read, "receipts_whole"),
    ],
)
def test_each_rule_finds_what_it_is_there_for(how: Break, rule: str) -> None:
    history, log = good()
    how(history, log)
    assert rule in broken(history, log)


def test_every_rule_has_a_row_above() -> None:
    (mark,) = test_each_rule_finds_what_it_is_there_for.pytestmark
    assert {row[1] for row in mark.args[1]} == set(RULES)


def test_unanswered_send_that_took_effect_or_did_not_is_fine() -> None:
    history, log = good()
    history.events += [
        event(7, Op.INVOKE, "lost"),
        event(7, Op.INVOKE, "kept"),
        event(8, Op.UNKNOWN, "lost"),
        event(8, Op.UNKNOWN, "kept"),
    ]
    log.append(entry(4, "kept"))
    history.deliveries += [delivery("ann/a", 4, "kept", stream=1), delivery("bob/b", 4, "kept")]
    assert broken(history, log) == set()


def test_entry_that_comes_again_on_another_stream_is_fine() -> None:
    history, log = good()
    history.deliveries += [delivery("bob/b", 2, "r2", stream=5), delivery("bob/b", 3, "r3", stream=5)]
    assert broken(history, log) == set()


def test_refused_request_may_take_its_place_later() -> None:
    history, log = good(2)
    first = [event(0, Op.INVOKE, "late"), event(0.5, Op.FAIL, "late", reason="OVERLOADED")]
    again = [event(5, Op.INVOKE, "late"), event(6, Op.OK, "late", seq=3)]
    history.events[:] = [*first, *history.events, *again]
    history.deliveries += [delivery("ann/a", 3, "late", stream=1), delivery("bob/b", 3, "late")]
    assert broken(history, [*log, entry(3, "late")]) == set()


def test_who_is_removed_and_comes_back_gets_both_parts() -> None:
    history, log = good(5)
    log[1] = replace(log[1], removed=frozenset({"bob"}))
    log[3] = replace(log[3], added=frozenset({"bob"}))
    history.receipts.append(Receipt(20, "ann/a", "c", "bob", delivered_seq=3, read_seq=3))
    assert broken(history, log) == set()
    history.deliveries[:] = [item for item in history.deliveries if item.device != "bob/b" or item.seq != 3]
    assert broken(history, log) == set(), "what stood between is not bob's"
    history.deliveries[:] = [item for item in history.deliveries if item.device != "bob/b" or item.seq != 4]
    assert broken(history, log) == {"delivered_whole", "delivered_without_holes"}


def test_what_was_there_before_a_user_joined_counts_as_read() -> None:
    history, log = good()
    log[2] = replace(log[2], added=frozenset({"cid"}))
    history.receipts.append(Receipt(0.1, "ann/a", "c", "cid", delivered_seq=2, read_seq=2))
    assert broken(history, log) == set()


@given(
    cuts=st.lists(st.integers(1, 12), max_size=5),
    overlaps=st.lists(st.integers(0, 4), min_size=6, max_size=6),
    missing=st.one_of(st.none(), st.integers(1, 12)),
)
def test_streams_that_cover_a_log_in_any_pieces_pass_and_one_missing_entry_never_does(
    cuts: list[int], overlaps: list[int], missing: int | None
) -> None:
    history, log = good(12)
    history.deliveries[:] = [item for item in history.deliveries if item.device == "ann/a"]
    edges = sorted({0, *cuts, 12})
    for stream, (low, high) in enumerate(pairwise(edges), 10):
        start = max(1, low + 1 - overlaps[stream % 6])
        history.deliveries += [
            delivery("bob/b", seq, f"r{seq}", stream=stream) for seq in range(start, high + 1) if seq != missing
        ]
    expected = set() if missing is None else {"delivered_whole"}
    assert expected <= broken(history, log) <= expected | ({"delivered_without_holes"} if missing else set())
