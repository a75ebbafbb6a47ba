from datetime import UTC, datetime

from parley.v1 import message_pb2

from service.convert.messages import to_message
from storage.records import Entry, EntryKind

TIME = datetime(2031, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC)


def test_message_has_everything_that_was_sent():
    entry = Entry(
        conversation_id="ann:bob",
        seq=7,
        kind=EntryKind.MESSAGE,
        sender="ann",
        request_id="r1",
        create_time=TIME,
        size_bytes=100,
        reply_to_seq=3,
        text="hello",
        data=b"\x00\x01",
        content_type="application/x",
        extras={
            "attachments": [{"uri": "https://x", "media_type": "image/png", "size_bytes": 5, "name": "x.png"}],
            "mentions": ["bob"],
            "attributes": {"k": "v"},
        },
    )
    assert to_message(entry) == message_pb2.Message(
        conversation_id="ann:bob",
        seq=7,
        sender="ann",
        text="hello",
        data=b"\x00\x01",
        content_type="application/x",
        request_id="r1",
        create_time={"seconds": 1927857906, "nanos": 789_012_000},
        attachments=[message_pb2.Attachment(uri="https://x", media_type="image/png", size_bytes=5, name="x.png")],
        reply_to_seq=3,
        mentions=["bob"],
        attributes={"k": "v"},
        message=message_pb2.PlainMessage(),
    )


def test_membership_entry_says_what_changed_and_is_no_message():
    entry = Entry(
        conversation_id="g1",
        seq=1,
        kind=EntryKind.MEMBERSHIP,
        sender="ann",
        request_id="r1",
        create_time=TIME,
        size_bytes=100,
        extras={"membership": {"action": 1, "members": ["bob", "cid"], "role": 2}},
    )
    message = to_message(entry)
    assert message.WhichOneof("entry") == "membership"
    assert message.membership == message_pb2.MembershipChange(
        action=message_pb2.MembershipChange.ACTION_ADDED,
        members=["bob", "cid"],
        role=message_pb2.MEMBER_ROLE_MEMBER,
    )
    assert message.text == ""


def test_time_is_exact_before_1970_too():
    entry = Entry("g1", 1, EntryKind.MESSAGE, "ann", "r1", datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC), 1)
    assert to_message(entry).create_time.ToMicroseconds() == -999_999
