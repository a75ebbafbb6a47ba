"""What a worker counts of the streams that share a device's messages."""

from datetime import UTC, datetime

from service.consumers.group import Consumer, Group
from service.delivery.outbox import MAX_BUFFERED_BYTES
from service.delivery.session import Session
from service.domain.errors import ShuttingDown
from storage.postgres.devices.deliveries import Claim, Delivery
from storage.records import Entry, EntryKind


def consumer(session_id: int = 1, window: int = 3) -> Consumer:
    return Consumer(Session(session_id, "bob", "phone"), deadline_seconds=10.0, window_messages=window)


def delivery(conversation_id: str, seq: int, owner: int = 1, *, size_bytes: int = 100) -> Delivery:
    entry = Entry(conversation_id, seq, EntryKind.MESSAGE, "alice", "r", datetime.now(UTC), size_bytes)
    return Delivery(entry, owner, 1)


def test_room_is_what_the_window_leaves_and_comes_back_by_acks_and_deadlines() -> None:
    one = consumer()
    group = Group("bob", "phone", is_ordered=False, consumers={1: one})
    assert one.room(0.0) == 3
    one.hold("g", 1, 0.0)
    one.hold("g", 2, 1.0)
    assert one.room(5.0) == 1
    group.note_settled([("g", 2)])
    assert one.room(5.0) == 2
    assert one.room(10.0) == 3
    # Held again: its deadline counts from then.
    one.hold("g", 1, 11.0)
    one.hold("g", 3, 12.0)
    one.hold("g", 1, 13.0)
    assert one.room(22.5) == 2
    assert one.room(23.0) == 3


def test_nack_of_what_another_stream_holds_gives_that_one_no_room() -> None:
    one, two = consumer(1), consumer(2)
    group = Group("bob", "phone", is_ordered=False, consumers={1: one, 2: two})
    one.hold("g", 1, 0.0)
    two.hold("g", 2, 0.0)
    for seq in (1, 2):
        group.note_failed(one.session, ("g", seq))
    assert (one.room(0.0), two.room(0.0)) == (3, 2)


def test_stream_that_ends_or_does_not_read_has_no_room() -> None:
    one = consumer()
    one.session.outbox.put(b"x" * MAX_BUFFERED_BYTES)
    assert one.room(0.0) == 0
    one.session.outbox.take_frame()
    assert one.room(0.0) == 3
    one.session.state.go_away()
    assert one.room(0.0) == 0
    two = consumer()
    two.session.state.end(ShuttingDown())
    assert two.room(0.0) == 0


def test_places_are_dealt_to_all_streams() -> None:
    group = Group("bob", "phone", is_ordered=False, consumers={1: consumer(1, 2), 2: consumer(2, 3)})
    assert [place.owner for place in group.places(0.0)] == [1, 2, 1, 2, 2]


def test_conversations_take_turns_and_what_has_more_goes_to_the_end_of_the_line() -> None:
    group = Group("bob", "phone", is_ordered=False)
    group.note_ready(f"g{number}" for number in range(40))
    chosen = group.next_grown()
    assert chosen == [f"g{number}" for number in range(32)]
    assert group.note_claim(Claim([delivery("g0", 1)], {"g0": True, "g1": False}, None), 5)
    assert list(group.ready) == [*(f"g{number}" for number in range(32, 40)), "g0", "g1"]
    assert not group.needs_rescan


def test_claim_that_used_all_places_or_its_bytes_may_have_left_something() -> None:
    group = Group("bob", "phone", is_ordered=False)
    group.note_claim(Claim([delivery("g", 1)], {}, None), 1)
    assert group.needs_rescan
    group.note_claim(Claim([delivery("g", 1)], {}, None), 2)
    assert not group.needs_rescan
    group.note_claim(Claim([delivery("g", 1, size_bytes=900_000)], {}, None), 2)
    assert group.needs_rescan
    assert not group.note_claim(Claim([], {"g": False}, None), 2)


def test_ordered_conversation_is_looked_at_again_when_its_head_is_settled() -> None:
    group = Group("bob", "phone", is_ordered=True)
    group.note_ready(["g", "h"])
    group.next_grown()
    group.note_claim(Claim([delivery("g", 1)], {"g": True, "h": False}, None), 5)
    assert not group.ready
    assert group.blocked == {"g", "h"}
    group.note_settled([("g", 1), ("other", 4)])
    assert list(group.ready) == ["g"]
    group.invalidate()
    assert list(group.ready) == ["g", "h"]
    assert group.needs_rescan
