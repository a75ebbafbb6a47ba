"""A channel's state: entries come in any order, twice or never; what is handed on is dense, rising, each once."""

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
