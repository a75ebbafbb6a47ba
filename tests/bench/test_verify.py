"""The verifier is red on every kind of broken history, and green on the others."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from parley.v1 import message_pb2

from bench.results import Verification
from bench.texts import Texts
from bench.verify import Acks, Brought, Evidence, Logs, Reader, find_last_seqs, judge, to_key

_TEXTS = Texts("1a2b3c4d", 100)


def entry(seq: int, number: int | None = None, *, sender: int = 1, conversation: str = "c") -> message_pb2.Message:
    (text,) = _TEXTS.make(_TEXTS.head(sender), (seq if number is None else number,), 1000 + seq)
    return message_pb2.Message(conversation_id=conversation, seq=seq, text=text)


def look(
    frames: Iterable[Iterable[message_pb2.Message]],
    acked: Iterable[tuple[int, int]] = (),
    *,
    base_seq: int = 0,
    others: Iterable[Iterable[message_pb2.Message]] = (),
) -> Verification:
    """What is found when one stream is brought `frames`, another one `others`, and (seq, number) were acknowledged."""
    logs = Logs(_TEXTS, {"c": base_seq})
    readers = [Reader({"c": base_seq}), Reader({"c": base_seq})]
    streams = [(readers[0], frames)] + ([(readers[1], others)] if others else [])
    for reader, brought in streams:
        for frame in brought:
            reader.advance(logs.digest(frame))
    acks = Acks()
    for seq, number in acked:
        acks.seqs.append(seq)
        acks.keys.append(to_key(1, number))
    found = Verification(
        checked=sum(reader.checked for reader, _ in streams),
        doubled=logs.doubled + sum(reader.doubled for reader, _ in streams),
        disordered=logs.disordered + sum(reader.disordered for reader, _ in streams),
        altered=logs.altered,
    )
    had = [Brought("c", reader.next_seqs["c"], frozenset(reader.missing.get("c", ()))) for reader, _ in streams]
    kept = {name: (log.base_seq, log.keys) for name, log in logs.logs.items()}
    return judge([Evidence({"c": [acks]}, {}, [], Verification(0)), Evidence({}, kept, had, found)])


ALL = [(seq, seq) for seq in range(1, 5)]


def test_whole_history_is_held_however_it_is_cut_into_frames():
    assert look([[entry(1), entry(2), entry(3), entry(4)]], ALL) == Verification(checked=4)
    assert look([[entry(1)], [entry(2), entry(3)], [entry(4)]], ALL) == Verification(checked=4)


def test_history_that_began_before_the_run_is_held():
    assert look([[entry(8, 1), entry(9, 2)]], [(8, 1), (9, 2)], base_seq=7) == Verification(checked=2)


def test_end_that_did_not_come_is_lost():
    assert look([[entry(1), entry(2)]], ALL) == Verification(checked=2, lost=2)


def test_hole_is_disorder_and_what_was_acknowledged_in_it_lost():
    assert look([[entry(1), entry(2), entry(4)]], ALL) == Verification(checked=3, lost=1, disordered=1)


def test_message_that_comes_late_is_disorder_and_not_lost():
    found = look([[entry(1)], [entry(3)], [entry(2)], [entry(4)]], ALL)
    assert (found.lost, found.doubled) == (0, 0)
    assert found.disordered


def test_message_that_comes_twice_is_doubled():
    assert look([[entry(1), entry(2)], [entry(2), entry(3), entry(4)]], ALL) == Verification(checked=5, doubled=1)


def test_message_under_two_seqs_is_doubled():
    found = look([[entry(1), entry(2), entry(3, 2), entry(4, 3)]], [(1, 1), (2, 2), (4, 3)])
    assert found == Verification(checked=4, doubled=1)


def test_messages_of_one_sender_that_changed_places_are_disorder():
    found = look([[entry(1, 2), entry(2, 1)]], [(2, 1), (1, 2)])
    assert found == Verification(checked=2, disordered=1)


def test_text_that_was_changed_is_altered():
    changed = entry(2)
    changed.text = changed.text[:-1] + "?"
    assert look([[entry(1), changed, entry(3), entry(4)]], ALL).altered


def test_text_that_is_not_the_acknowledged_one_is_altered():
    assert look([[entry(1), entry(2, 5)]], [(1, 1), (2, 2)]) == Verification(checked=2, altered=1)


def test_streams_that_are_brought_different_texts_are_altered():
    found = look([[entry(1), entry(2)]], [(1, 1), (2, 2)], others=[[entry(1), entry(2, 9)]])
    assert found == Verification(checked=4, altered=1)


def test_message_that_nobody_acknowledged_may_come_or_not():
    assert look([[entry(1), entry(2)]], [(1, 1)]) == Verification(checked=2)
    assert look([[entry(1)]], [(1, 1)]) == Verification(checked=1)


def test_conversations_of_others_are_left_out():
    assert look([[entry(1), entry(1, conversation="other"), entry(2)]], [(1, 1), (2, 2)]) == Verification(checked=2)


def test_last_seq_of_a_conversation_is_the_highest_of_all_its_senders():
    early, late, other = Acks(), Acks(), Acks()
    early.seqs.extend([1, 4])
    late.seqs.extend([2, 3])
    other.seqs.append(9)
    told = [{"c": early, "quiet": Acks()}, {"c": late, "d": other}]
    assert find_last_seqs(told) == {"c": 4, "d": 9}
    assert find_last_seqs(reversed(told)) == {"c": 4, "d": 9}
    assert find_last_seqs([{"c": 7}, {"c": 5, "d": 1}]) == {"c": 7, "d": 1}


@given(st.permutations(range(1, 7)), st.integers(0, 6))
def test_only_the_whole_log_in_order_is_held(order: list[int], count: int):
    brought = [[entry(seq)] for seq in order[:count]]
    found = look(brought, [(seq, seq) for seq in range(1, 7)])
    assert found.is_held == (order[:count] == list(range(1, 7)))
    assert found.lost == 6 - count
