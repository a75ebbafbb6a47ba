"""The window: what is under way is what was delivered and neither acknowledged nor covered by `flow`."""

from hypothesis import given
from hypothesis import strategies as st

from service.convert.items import Item, message_bytes
from service.delivery.window import Window

SIZE = 100
# What a client does between deliveries: (what, which conversation, how far).
steps = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), st.sampled_from("ab"), st.integers(1, 250)),
        st.tuples(st.just("ack"), st.sampled_from("abc"), st.integers(0, 30)),
        st.tuples(st.just("flow"), st.just(""), st.integers(0, 60)),
    ),
    max_size=80,
)


@given(steps, st.integers(0, 6), st.integers(0, 400))
def test_window_counts_what_is_neither_acknowledged_nor_covered(steps, max_messages, max_bytes):
    window = Window(max_messages, max_bytes)
    under_way: list[tuple[int, str, int, int]] = []  # number, conversation, seq, size
    last_seqs = {"a": 0, "b": 0}
    acked_seqs = {"a": 0, "b": 0, "c": 0}
    count = 0
    is_full = False
    for step, conversation_id, number in steps:
        if step == "deliver":
            total = sum(size for *_, size in under_way)
            fits = (not max_messages or len(under_way) < max_messages) and (
                not max_bytes or total + number <= max_bytes
            )
            is_full = is_full or not (not under_way or fits)
            assert window.has_room_for(number) == (not is_full)
            assert window.is_full == is_full
            if is_full:
                continue
            count += 1
            last_seqs[conversation_id] += 1
            window.deliver(conversation_id, last_seqs[conversation_id], number)
            if last_seqs[conversation_id] > acked_seqs[conversation_id]:
                under_way.append((count, conversation_id, last_seqs[conversation_id], number))
            continue
        before = len(under_way)
        if step == "ack":
            window.ack(conversation_id, number)
            acked_seqs[conversation_id] = max(number, acked_seqs[conversation_id])
            under_way = [entry for entry in under_way if entry[1] != conversation_id or entry[2] > number]
        else:
            assert window.flow(number) == (number <= count)
            if number <= count:
                under_way = [entry for entry in under_way if entry[0] > number]
        is_full = is_full and len(under_way) == before
        assert window.outstanding_count == len(under_way)
        assert window.outstanding_bytes == sum(size for *_, size in under_way)
    assert window.delivered_count == count


def test_small_entries_do_not_overtake_a_large_one_for_ever():
    """Else a busy conversation would hold back a large message of another one as long as it is busy."""
    window = Window(0, 100)
    window.deliver("busy", 1, 60)
    assert not window.has_room_for(90)
    assert not window.has_room_for(10)
    window.ack("busy", 1)
    assert window.has_room_for(90)


def test_what_was_acknowledged_before_it_came_again_takes_no_room():
    """An earlier stream of the device brought it; no further ack is to be expected."""
    window = Window(2, 0)
    window.ack("g", 5)
    for seq in range(1, 8):
        assert window.has_room_for(SIZE)
        window.deliver("g", seq, SIZE)
    assert not window.has_room_for(SIZE)
    assert window.flow(7)
    assert not window.flow(8)


def test_memory_is_that_of_what_is_under_way():
    window = Window(1000, 0)
    window.deliver("old", 1, SIZE)  # never dealt with: all others lie behind it
    for seq in range(1, 10_000):
        window.deliver("busy", seq, SIZE)
        window.ack("busy", seq)
    assert window.outstanding_count == 1
    assert len(window._in_order) < 100
    for seq in range(10_000, 20_000):
        window.deliver("busy", seq, SIZE)
        assert window.flow(window.delivered_count)
    assert (window._by_conversation, list(window._in_order)) == ({}, [])


@given(st.integers(1, 70_000))
def test_size_of_a_message_is_what_a_client_measures(length):
    prefix, rest = b"\x1a", length
    while rest > 127:
        prefix += bytes([rest & 127 | 128])
        rest >>= 7
    body = prefix + bytes([rest]) + b"x" * length
    assert message_bytes(Item(1, body, 1, 0)) == length
