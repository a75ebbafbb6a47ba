"""The rules of a session that need what it subscribes to, what waits, and the client's window together."""

from hypothesis import given
from hypothesis import strategies as st

from service.convert.items import Item
from service.delivery.outbox import MAX_BUFFERED_BYTES
from service.delivery.session import Session
from service.delivery.window import Window

ME = 7


def make_session(**fields: object) -> Session:
    return Session(ME, "ann", "phone", **fields)


def test_run_that_does_not_fit_is_not_taken_with_or_without_a_window():
    for session in (make_session(), make_session(no_echo=True), make_session(window=Window(9, 0))):
        run = [Item(1, b"\x1a\x80\xb5\x18" + b"x" * 400_000, 1, 0)]
        assert [session.offer("g", run, run[0].body) for _ in range(4)] == [1, 1, 0, 0]
        session.outbox.take_frame()
        largest = [Item(1, b"\x1a\x80\xb5\x18" + b"x" * MAX_BUFFERED_BYTES, 1, 0)]
        assert session.offer("g", largest, largest[0].body)
        assert not session.offer("g", run, run[0].body)


@given(st.lists(st.sampled_from([0, ME, 8]), min_size=1, max_size=6), st.booleans())
def test_no_echo_leaves_out_own_messages_alone(origins, no_echo):
    session = make_session(no_echo=no_echo)
    run = [Item(nth, b"<%d>" % nth, 1, origin) for nth, origin in enumerate(origins)]
    assert session.offer("g", run, b"".join(item.body for item in run))
    wanted = [item.body for item in run if not (no_echo and item.origin == ME)]
    assert session.outbox.take_frame() == b"".join(wanted)
    if wanted:
        assert session.outbox.taken_count == len(wanted)


def test_own_messages_are_waited_for_unless_they_do_not_come():
    for no_echo, own_seqs in ((False, {"g": 3}), (True, {})):
        session = make_session(no_echo=no_echo)
        session.note_stored("g", 3)
        assert session.subscriptions.own_seqs == own_seqs


def test_growth_is_signalled_in_place_of_entries_until_that_ends():
    session = make_session()
    grown = []
    run = [Item(1, b"entry", 1, 0)]
    session.signal_growth(grown.append)
    assert session.offer("g", run, b"entry") == 1
    assert (grown, session.outbox.take_frame()) == (["g"], b"")
    session.signal_growth(None)
    assert session.offer("g", run, b"entry") == 1
    assert (grown, session.outbox.take_frame()) == (["g"], b"entry")


def test_settled_means_answered_brought_and_written():
    session = make_session()
    outbox, subscriptions = session.outbox, session.subscriptions
    assert session.is_settled
    for unsettle, settle in (
        (lambda: outbox.put(b"x"), session.outbox.take_frame),
        (lambda: outbox.put_ephemeral(("g", "bob"), b"x"), session.outbox.take_frame),
        (lambda: subscriptions.fall_behind("g", 0), lambda: subscriptions.catch_up("g")),
        (lambda: subscriptions.to_catch_up.add("g"), lambda: subscriptions.note_caught_up("g")),
        (lambda: outbox.expect_answers(1), lambda: outbox.note_answers(1)),
    ):
        unsettle()
        assert not session.is_settled
        settle()
        assert session.is_settled


def test_window_takes_a_run_as_far_as_it_has_room_and_echoes_take_none():
    session = make_session(no_echo=True, window=Window(3, 0))
    run = [Item(nth, b"\x1a\x01%d" % nth, 1, ME if nth in (1, 3) else 0) for nth in range(1, 8)]
    joined = b"".join(item.body for item in run)
    assert session.offer("g", run, joined) == 5  # 2, 4, 5 count; 1 and 3 are its own
    assert session.outbox.take_frame() == b"".join(run[nth - 1].body for nth in (2, 4, 5))
    assert not session.has_room
    assert session.offer("g", run[5:], joined) == 0
    assert session.window is not None
    session.window.ack("g", 2)
    assert session.has_room
    assert session.offer("g", run[5:], joined) == 1
    assert session.outbox.take_frame() == run[5].body


def test_half_closed_stream_does_not_wait_for_a_window_that_can_not_open_any_more():
    session = make_session(window=Window(1, 0))
    session.subscriptions.fall_behind("g", 0)
    assert not session.is_settled
    run = [Item(1, b"\x1a\x011", 1, 0), Item(2, b"\x1a\x012", 1, 0)]
    assert session.offer("g", run, b"") == 1
    session.outbox.take_frame()
    assert session.is_settled
