"""What waits for a stream: bounded, in order, in frames that fit; states merged by key."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from service.delivery.outbox import MAX_BUFFERED_BYTES, MAX_EPHEMERAL, MAX_UNANSWERED, Outbox
from service.domain.errors import UnknownPayload
from service.domain.limits import MAX_FRAME_BYTES


def make_outbox() -> Outbox:
    return Outbox(wake=lambda: None, on_error=lambda _: None)


def take_all(outbox: Outbox) -> list[bytes]:
    frames = []
    while frame := outbox.take_frame():
        frames.append(frame)
    return frames


# Sizes of pieces; the largest that is ever put at once is a run of 256 KiB and a message.
sizes = st.lists(st.integers(1, 320 * 1024), max_size=12)
calls = st.lists(
    st.tuples(
        st.sampled_from(["offer", "offer", "offer", "put", "take"]),
        st.one_of(st.integers(1, 320 * 1024), st.sampled_from([1, 100_000, 300_000])),
    ),
    max_size=30,
)


@given(calls)
def test_buffer_is_bounded_frames_fit_and_nothing_is_lost_or_moved(calls):
    outbox = make_outbox()
    given_, got = [], []
    must_bytes = waiting_count = 0
    for nth, (call, size) in enumerate(calls):
        body = bytes([nth]) * size
        before = outbox._size_bytes
        if call == "offer":
            would_fit = outbox.fits(size)
            is_taken = outbox.offer(body, nth)
            assert is_taken == would_fit == (before == 0 or before + size <= MAX_BUFFERED_BYTES)
            if is_taken:
                given_.append(body)
                waiting_count += nth
            else:
                assert outbox._size_bytes == before
        elif call == "put":
            outbox.put(body, nth)
            must_bytes += size
            waiting_count += nth
            given_.append(body)
        else:
            frame = outbox.take_frame()
            assert len(frame) <= MAX_FRAME_BYTES
            assert bool(frame) == bool(before)
            if frame:
                waiting_count -= outbox.taken_count
                assert outbox.taken_count == sum(set(frame))  # each body is of one value, which is its count
            got.append(frame)
        assert outbox._size_bytes <= MAX_BUFFERED_BYTES + must_bytes
    while frame := outbox.take_frame():
        got.append(frame)
        waiting_count -= outbox.taken_count
    assert b"".join(got) == b"".join(given_)
    assert (outbox._size_bytes, outbox.has_output, waiting_count) == (0, False, 0)


def test_entries_that_do_not_fit_are_not_taken_unless_nothing_waits():
    outbox = make_outbox()
    assert [outbox.offer(b"x" * 400_000, 1) for _ in range(4)] == [True, True, False, False]
    assert outbox._size_bytes == 800_000
    outbox.take_frame()
    assert outbox.offer(b"x" * (MAX_BUFFERED_BYTES + 1), 1)
    assert not outbox.offer(b"x", 1)


@given(sizes)
def test_all_that_fits_goes_into_one_frame(sizes):
    outbox = make_outbox()
    for size in sizes:
        outbox.put(b"x" * size)
    frames = take_all(outbox)
    assert all(len(one) + len(next_) > MAX_FRAME_BYTES for one, next_ in pairwise(frames))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(min_size=1, max_size=4)), max_size=20))
def test_states_are_merged_by_key_and_the_latest_wins(states):
    outbox = make_outbox()
    for key, body in states:
        outbox.put_ephemeral(("g", key), key.encode() + body)
    latest = dict(states)
    assert b"".join(take_all(outbox)) == b"".join(key.encode() + latest[key] for key in latest)


def test_states_are_bounded_and_come_after_what_has_an_order():
    outbox = make_outbox()
    for nth in range(MAX_EPHEMERAL + 10):
        outbox.put_ephemeral(("g", str(nth)), b"s" * 400)
    outbox.put_ephemeral(("g", "0"), b"t" * 400)
    outbox.put(b"entry")
    frames = take_all(outbox)
    assert frames[0].startswith(b"entry" + b"t" * 400)
    assert all(len(frame) <= MAX_FRAME_BYTES for frame in frames)
    assert sum(map(len, frames)) == 5 + 400 * MAX_EPHEMERAL


def test_states_wait_while_entries_fill_the_frame():
    outbox = make_outbox()
    outbox.put_ephemeral(("g", "bob"), b"typing")
    for _ in range(3):
        outbox.put(b"x" * 600_000)
    frames = take_all(outbox)
    assert [len(frame) for frame in frames[:2]] == [600_000, 600_000]
    assert b"".join(frames).endswith(b"typing")


def test_requests_are_not_read_while_too_much_is_unanswered_or_unwritten():
    outbox = make_outbox()
    outbox.expect_answers(MAX_UNANSWERED - 1)
    assert outbox.may_read
    outbox.expect_answers(1)
    assert not outbox.may_read
    outbox.note_answers(MAX_UNANSWERED)
    assert outbox.may_read
    outbox.put(b"x" * 2 * MAX_BUFFERED_BYTES)
    assert not outbox.may_read
    assert not outbox.has_room


def test_welcome_goes_before_what_waited_for_it():
    outbox = make_outbox()
    outbox.put(b"entry")
    outbox.put_ephemeral(("presence", "bob"), b"online")
    outbox.put_first(b"welcome ")
    assert b"".join(take_all(outbox)) == b"welcome entryonline"


def test_what_must_be_alone_is_joined_with_nothing():
    outbox = make_outbox()
    outbox.put(b"a")
    outbox.put_alone(b"RESET")
    outbox.put_alone(b"RESET TOO")
    outbox.put_ephemeral(("presence", "bob"), b"online")
    assert take_all(outbox) == [b"a", b"RESET", b"RESET TOO", b"online"]
    outbox.put(b"b")
    outbox.put(b"c")
    assert take_all(outbox) == [b"bc"]


def test_whatever_is_added_wakes_and_errors_are_counted():
    woken, reasons = [], []
    outbox = Outbox(wake=lambda: woken.append(1), on_error=reasons.append)
    for nth, add in enumerate(
        (
            lambda: outbox.put(b"a"),
            lambda: outbox.offer(b"b", 1),
            lambda: outbox.put_alone(b"c"),
            lambda: outbox.put_first(b"d"),
            lambda: outbox.put_ephemeral(("g", "bob"), b"e"),
            lambda: outbox.put_error(7, UnknownPayload()),
        ),
        1,
    ):
        add()
        assert len(woken) == nth
    assert reasons == [UnknownPayload().reason]
    assert not outbox.offer(b"x" * MAX_BUFFERED_BYTES, 1)
    assert len(woken) == 6
