"""A channel's state: entries come in any order, twice or never; what is delivered is dense, rising, each once."""

from hypothesis import given
from hypothesis import strategies as st

from service.convert.items import Item
from service.delivery.channel import MAX_PARKED, MAX_TAIL_BYTES, MAX_TAIL_ITEMS, Channel
from service.delivery.session import Session


def item(seq: int, size: int = 1) -> Item:
    return Item(seq, b"%d" % seq if size == 1 else b"x" * size, 1, 0)


def seqs(run: list[Item]) -> list[int]:
    return [one.seq for one in run]


# What the bus makes of the entries 1 to n: any of them, in any order, any number of times, in batches.
arrivals = st.lists(st.lists(st.integers(1, 30), max_size=8), max_size=12)


@given(st.integers(0, 10), arrivals)
def test_runs_are_dense_rising_and_each_entry_once(last_seq, batches):
    channel = Channel("g")
    channel.open_at(last_seq)
    handed: list[int] = []
    seen: set[int] = set()
    for batch in batches:
        handed += seqs(channel.take(map(item, batch)))
        seen |= set(batch)
        assert channel.position == last_seq + len(handed)
        assert channel.known_last_seq == max({last_seq, *seen})
        assert channel.has_gap == (channel.known_last_seq > channel.position)
        assert all(seq > channel.position + 1 for seq in channel.parked)
    assert handed == list(range(last_seq + 1, last_seq + len(handed) + 1))
    # As far as it could go: the next one never came.
    assert channel.position + 1 not in seen


@given(arrivals, st.integers(0, 10), arrivals)
def test_what_comes_before_the_log_was_read_waits_for_it(before, last_seq, after):
    channel = Channel("g")
    for batch in before:
        assert channel.take(map(item, batch)) == []
    channel.open_at(last_seq)
    handed = seqs(channel.take_parked())
    for batch in after:
        handed += seqs(channel.take(map(item, batch)))
    assert handed == list(range(last_seq + 1, last_seq + len(handed) + 1))
    assert last_seq + len(handed) + 1 not in {seq for batch in (*before, *after) for seq in batch}


@given(st.integers(0, 10), st.lists(st.tuples(st.sampled_from(["take", "park", "end"]), st.lists(st.integers(1, 30)))))
def test_cooldowns_change_nothing_of_what_is_handed_on(last_seq, steps):
    channel = Channel("g")
    channel.open_at(last_seq)
    handed: list[int] = []
    for what, batch in (*steps, ("end", [])):
        match what:
            case "take":
                handed += seqs(channel.take(map(item, batch)))
            case "park":
                channel.park(map(item, batch))
            case _:
                handed += seqs(channel.take_parked())
    seen = {last_seq, *(seq for what, batch in steps if what != "end" for seq in batch)}
    assert handed == list(range(last_seq + 1, last_seq + len(handed) + 1))
    assert last_seq + len(handed) + 1 not in seen
    assert channel.known_last_seq == max(seen)


@given(st.permutations(range(1, 41)))
def test_every_order_of_all_entries_hands_on_all(order):
    channel = Channel("g")
    channel.open_at(0)
    assert [seq for arrived in order for seq in seqs(channel.take([item(arrived)]))] == list(range(1, 41))
    assert not channel.parked


def test_parked_entries_are_bounded_and_the_gap_stays_known():
    channel = Channel("g")
    channel.open_at(0)
    beyond = range(2, MAX_PARKED + 500)
    assert channel.take(map(item, beyond)) == []
    assert len(channel.parked) == MAX_PARKED
    # The first one lets out what was parked; the rest is a gap that the log fills.
    assert seqs(channel.take([item(1)])) == list(range(1, MAX_PARKED + 2))
    assert (channel.has_gap, channel.known_last_seq) == (True, beyond[-1])


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=400), st.data())
def test_tail_gives_all_that_follows_or_says_that_it_can_not(sizes, data):
    channel = Channel("g")
    channel.open_at(5)
    for nth, size in enumerate(sizes):
        channel.take([item(6 + nth, size)])
    position = data.draw(st.integers(0, channel.position + 1))
    tail = channel.tail_after(position)
    if tail is not None:
        assert seqs(tail) == list(range(position + 1, channel.position + 1))
        assert len(tail) <= MAX_TAIL_ITEMS
        assert sum(len(one.body) for one in tail[1:]) <= MAX_TAIL_BYTES
    else:
        wanted = range(position + 1, channel.position + 1)
        assert position < 5 or len(wanted) > MAX_TAIL_ITEMS or sum(sizes[seq - 6] for seq in wanted) > MAX_TAIL_BYTES


# Ready bytes by seq are the plain model; a change gives an entry bytes of another size.
changes = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 1500), st.integers(1, 5)),
        st.tuples(st.just("replace"), st.integers(0, 90), st.integers(1, 40_000)),
        st.tuples(st.just("forget"), st.sets(st.integers(0, 90), max_size=3), st.none()),
        st.tuples(st.just("forget"), st.none(), st.none()),
    ),
    max_size=25,
)


@given(changes)
def test_memory_has_the_entries_as_they_were_changed_last_or_not_at_all(steps):
    channel = Channel("g")
    channel.open_at(0)
    model: dict[int, bytes] = {}
    for what, first, second in steps:
        match what:
            case "take":
                run = [item(channel.position + nth, first) for nth in range(1, second + 1)]
                model |= {one.seq: one.body for one in channel.take(run)}
            case "replace":
                is_there = first in seqs(channel.tail_after(0) or []) or first in seqs(channel._tail)
                changed = item(first, second + 1)
                assert channel.replace(changed) == is_there
                if first in model:
                    model[first] = changed.body
                    if not is_there:
                        assert channel.tail_after(first - 1) is None
            case _:
                channel.forget(first)
                gone = set(model) if first is None else first & set(model)
                assert all(channel.tail_after(seq - 1) is None for seq in gone)
        for position in range(channel.position + 1):
            tail = channel.tail_after(position)
            if tail is not None:
                assert {one.seq: one.body for one in tail} == {
                    seq: body for seq, body in model.items() if seq > position
                }
        assert channel._tail_bytes == sum(len(one.body) for one in channel._tail)
        assert len(channel._tail) <= 1 or channel._tail_bytes <= MAX_TAIL_BYTES


def test_tail_is_bounded_also_after_a_replacement():
    channel = Channel("g")
    channel.open_at(0)
    channel.take([item(1, 9), item(2, 9), item(3, 9)])
    assert channel.replace(item(2, MAX_TAIL_BYTES))
    assert (channel.tail_after(1), seqs(channel.tail_after(2) or [])) == (None, [3])


def test_entry_that_is_parked_is_replaced_and_forgotten_there():
    channel = Channel("g")
    channel.open_at(0)
    channel.take([item(2), item(3), item(4)])
    assert channel.replace(item(3, 7))
    channel.forget({4})
    assert [len(one.body) for one in channel.take([item(1)])] == [1, 1, 7]
    assert (channel.position, channel.has_gap) == (3, True), "the log has the fourth"
    channel.take([item(6)])
    channel.forget()
    assert seqs(channel.take([item(4), item(5)])) == [4, 5]
    assert channel.has_gap


def test_tail_of_a_channel_just_opened_serves_only_the_end():
    channel = Channel("g")
    channel.open_at(3)
    assert channel.tail_after(3) == []
    assert channel.tail_after(2) is None


def test_channel_is_idle_from_the_last_session_on():
    channel, one, other = Channel("g"), Session(1, "ann", "a"), Session(2, "bob", "b")
    channel.live.add(one)
    channel.lagging.add(other)
    channel.leave(one, 10.0)
    assert channel.idle_since is None
    channel.leave(other, 11.0)
    channel.leave(other, 12.0)
    assert channel.idle_since == 11.0
