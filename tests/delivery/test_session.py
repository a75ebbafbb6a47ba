"""What waits for a stream: bounded, in order, in frames that fit; presence and typing merged; marks once."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from service.convert.items import Item
from service.delivery.session import MAX_BUFFERED_BYTES, MAX_EPHEMERAL, MAX_FRAME_BYTES, MAX_UNANSWERED, Session
from service.delivery.window import Window
from service.domain.errors import ShuttingDown, TokenExpired

ME = 7


def make_session(**fields: object) -> Session:
    return Session(ME, "ann", "phone", **fields)


def take_all(session: Session) -> list[bytes]:
    frames = []
    while frame := session.take_frame():
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
    session = make_session()
    given_, got = [], []
    must_bytes = 0
    for nth, (call, size) in enumerate(calls):
        body = bytes([nth]) * size
        before = session._out_bytes
        if call == "offer":
            is_taken = session.offer("g", [Item(nth, body, 1, 0)], body)
            assert is_taken == (before == 0 or before + size <= MAX_BUFFERED_BYTES)
            if is_taken:
                given_.append(body)
            else:
                assert session._out_bytes == before
        elif call == "put":
            session.put(body)
            must_bytes += size
            given_.append(body)
        else:
            frame = session.take_frame()
            assert len(frame) <= MAX_FRAME_BYTES
            assert bool(frame) == bool(before)
            got.append(frame)
        assert session._out_bytes <= MAX_BUFFERED_BYTES + must_bytes
    got += take_all(session)
    assert b"".join(got) == b"".join(given_)
    assert (session._out_bytes, session.has_output) == (0, False)


def test_run_that_does_not_fit_is_not_taken_unless_nothing_waits():
    session = make_session()
    run = [Item(1, b"x" * 400_000, 1, 0)]
    assert [session.offer("g", run, run[0].body) for _ in range(4)] == [1, 1, 0, 0]
    assert session._out_bytes == 800_000
    session.take_frame()
    largest = [Item(1, b"x" * (MAX_BUFFERED_BYTES + 1), 1, 0)]
    assert session.offer("g", largest, largest[0].body)
    assert not session.offer("g", run, run[0].body)


@given(sizes)
def test_all_that_fits_goes_into_one_frame(sizes):
    session = make_session()
    for size in sizes:
        session.put(b"x" * size)
    frames = take_all(session)
    assert all(len(one) + len(next_) > MAX_FRAME_BYTES for one, next_ in pairwise(frames))


@given(st.lists(st.sampled_from([0, ME, 8]), min_size=1, max_size=6), st.booleans())
def test_no_echo_leaves_out_own_messages_alone(origins, no_echo):
    session = make_session(no_echo=no_echo)
    run = [Item(nth, b"<%d>" % nth, 1, origin) for nth, origin in enumerate(origins)]
    assert session.offer("g", run, b"".join(item.body for item in run))
    wanted = [item.body for item in run if not (no_echo and item.origin == ME)]
    assert session.take_frame() == b"".join(wanted)


def test_nothing_is_given_out_before_the_welcome():
    session = make_session(is_held=True)
    session.offer("g", [Item(1, b"entry", 1, 0)], b"entry")
    session.put_ephemeral(("presence", "bob"), b"online")
    assert session.take_frame() == b""
    assert session.has_output
    session.is_held = False
    session.put_first(b"welcome ")
    assert b"".join(take_all(session)) == b"welcome entryonline"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(min_size=1, max_size=4)), max_size=20))
def test_states_are_merged_by_key_and_the_latest_wins(states):
    session = make_session()
    for key, body in states:
        session.put_ephemeral(("g", key), key.encode() + body)
    latest = dict(states)
    assert b"".join(take_all(session)) == b"".join(key.encode() + latest[key] for key in latest)


def test_states_are_bounded_and_come_after_what_has_an_order():
    session = make_session()
    for nth in range(MAX_EPHEMERAL + 10):
        session.put_ephemeral(("g", str(nth)), b"s" * 400)
    session.put_ephemeral(("g", "0"), b"t" * 400)
    session.put(b"entry")
    frames = take_all(session)
    assert frames[0].startswith(b"entry" + b"t" * 400)
    assert all(len(frame) <= MAX_FRAME_BYTES for frame in frames)
    assert sum(map(len, frames)) == 5 + 400 * MAX_EPHEMERAL


def test_states_wait_while_entries_fill_the_frame():
    session = make_session()
    session.put_ephemeral(("g", "bob"), b"typing")
    for _ in range(3):
        session.put(b"x" * 600_000)
    frames = take_all(session)
    assert [len(frame) for frame in frames[:2]] == [600_000, 600_000]
    assert b"".join(frames).endswith(b"typing")


def test_requests_are_not_read_while_too_much_is_unanswered_or_unwritten():
    session = make_session()
    session.unanswered_count = MAX_UNANSWERED - 1
    assert session.may_read
    session.unanswered_count = MAX_UNANSWERED
    assert not session.may_read
    session.unanswered_count = 0
    session.put(b"x" * 2 * MAX_BUFFERED_BYTES)
    assert not session.may_read
    assert not session.has_room


conversation_ids = st.sampled_from("abcdef")


@given(st.sets(conversation_ids), st.lists(st.lists(conversation_ids, max_size=4), max_size=12))
def test_each_conversation_is_marked_once_and_complete_comes_once_with_the_last(wanted, arrivals):
    session = make_session()
    session.to_catch_up = set(wanted)
    marks = [mark for arrived in arrivals for mark in session.note_caught_up(arrived)]
    names = [name for name, _ in marks]
    assert len(names) == len(set(names))
    assert set(names) == wanted & {name for arrived in arrivals for name in arrived}
    completes = [is_complete for _, is_complete in marks]
    if marks and set(names) == wanted:
        assert completes == [False] * (len(marks) - 1) + [True]
    else:
        assert True not in completes


@given(st.integers(1, 12), st.integers(1, 5))
def test_no_backlog_waits_for_more_than_one_round(total, count):
    session = make_session()
    for nth in range(total):
        session.fall_behind(f"g{nth}", 0)
    rounds = -(-total // count)
    for _ in range(3):
        served = [name for _ in range(rounds) for name, _ in session.next_lags(count)]
        assert set(served) == set(session.lags)
    assert len(session.next_lags(count)) == min(count, total)


def test_settled_means_answered_brought_and_written():
    session = make_session()
    assert session.is_settled
    for unsettle, settle in (
        (lambda: session.put(b"x"), session.take_frame),
        (lambda: session.put_ephemeral(("g", "bob"), b"x"), session.take_frame),
        (lambda: session.fall_behind("g", 0), session.lags.clear),
        (lambda: session.to_catch_up.add("g"), session.to_catch_up.clear),
        (lambda: setattr(session, "unanswered_count", 1), lambda: setattr(session, "unanswered_count", 0)),
    ):
        unsettle()
        assert not session.is_settled
        settle()
        assert session.is_settled


def test_first_reason_to_end_counts_and_wakes():
    woken = []
    session = make_session(wake=lambda: woken.append(1))
    first = TokenExpired()
    session.end(first)
    session.end(ShuttingDown())
    assert session.ending is first
    assert len(woken) == 2


def test_window_takes_a_run_as_far_as_it_has_room_and_echoes_take_none():
    session = make_session(no_echo=True, window=Window(3, 0))
    run = [Item(nth, b"\x1a\x01%d" % nth, 1, ME if nth in (1, 3) else 0) for nth in range(1, 8)]
    joined = b"".join(item.body for item in run)
    assert session.offer("g", run, joined) == 5  # 2, 4, 5 count; 1 and 3 are its own
    assert session.take_frame() == b"".join(run[nth - 1].body for nth in (2, 4, 5))
    assert not session.has_room
    assert session.offer("g", run[5:], joined) == 0
    assert session.window is not None
    session.window.ack("g", 2)
    assert session.has_room
    assert session.offer("g", run[5:], joined) == 1
    assert session.take_frame() == run[5].body


def test_what_must_be_alone_is_joined_with_nothing():
    session = make_session()
    session.put(b"a")
    session.put_alone(b"RESET")
    session.put_alone(b"RESET TOO")
    session.put_ephemeral(("presence", "bob"), b"online")
    assert take_all(session) == [b"a", b"RESET", b"RESET TOO", b"online"]
    session.put(b"b")
    session.put(b"c")
    assert take_all(session) == [b"bc"]


def test_half_closed_stream_does_not_wait_for_a_window_that_can_not_open_any_more():
    session = make_session(window=Window(1, 0))
    session.fall_behind("g", 0)
    assert not session.is_settled
    run = [Item(1, b"\x1a\x011", 1, 0), Item(2, b"\x1a\x012", 1, 0)]
    assert session.offer("g", run, b"") == 1
    session.take_frame()
    assert session.is_settled
