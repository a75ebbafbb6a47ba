"""Each message of the bus has a channel, bytes that every release reads, a repair, and a row on the page."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.convert.items import Item
from service.delivery import bus_frames
from service.delivery.bus_decoder import decode
from service.delivery.bus_frames import FrameType, UnknownMessage
from service.delivery.bus_messages import (
    BusMessage,
    DeliveriesReturned,
    EntriesStored,
    LoginsEnded,
    MembershipsChanged,
    MovedReceipt,
    PresenceChanged,
    ReceiptsMoved,
    ReceiptsWatched,
    TypingChanged,
    WorkerAnnounced,
    publish_entries_nowait,
    publish_nowait,
)
from storage.records import Receipt, Revocation
from storage.redis.presence import PresenceRecord

ROOT = Path(__file__).parents[2]
MESSAGES = get_args(BusMessage)
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60).filter(lambda text: len(text.encode()) <= 65)
u64s = st.integers(0, 2**64 - 1)
times = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 # as Hypothesis wants
entries = st.builds(
    lambda first_seq, parts: [Item(first_seq + nth, *part) for nth, part in enumerate(parts)],
    st.integers(1, 2**63 - 1),
    st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 255), u64s), min_size=1, max_size=8),
)
receipts = st.one_of(
    st.just(MovedReceipt("", b"")), st.builds(MovedReceipt, username=names, body=st.binary(min_size=1, max_size=40))
)
EACH: dict[type, st.SearchStrategy[BusMessage]] = {
    EntriesStored: st.builds(EntriesStored, names, entries),
    TypingChanged: st.builds(TypingChanged, names, names, st.booleans(), u64s),
    ReceiptsMoved: st.builds(ReceiptsMoved, names, st.lists(receipts, min_size=1, max_size=8)),
    ReceiptsWatched: st.just(ReceiptsWatched()),
    MembershipsChanged: st.builds(MembershipsChanged, names),
    DeliveriesReturned: st.builds(DeliveriesReturned, names, names),
    PresenceChanged: st.builds(
        PresenceChanged, names, st.builds(PresenceRecord, st.booleans(), st.one_of(st.none(), times))
    ),
    LoginsEnded: st.builds(
        LoginsEnded,
        st.builds(Revocation, st.integers(1, 2**63 - 1), names, st.one_of(st.none(), names), times, times),
    ),
    WorkerAnnounced: st.builds(WorkerAnnounced, names, names, names),
}


def decoded(channel: str, payload: bytes) -> BusMessage | None:
    kind, _, name = channel.partition(":")
    return decode(kind, name, payload)


@pytest.mark.parametrize("kind", MESSAGES)
@given(data=st.data())
def test_every_message_comes_out_as_it_went_in(kind, data):
    message = data.draw(EACH[kind])
    assert decoded(message.channel, message.encode()) == message


class Published:
    """What is queued."""

    def __init__(self) -> None:
        self.queued: list[tuple[str, bytes]] = []

    def publish_nowait(self, channel: str, payload: bytes) -> None:
        self.queued.append((channel, payload))


@given(names, entries)
def test_entries_are_published_as_their_message(conversation_id, items):
    bus: Any = Published()
    publish_entries_nowait(bus, conversation_id, items)
    publish_nowait(bus, EntriesStored(conversation_id, items))
    assert bus.queued[0] == bus.queued[1]


# What 0.1.0 and 0.1.1 publish and understand.
BYTES = [
    (
        EntriesStored("ann:bob", [Item(7, b"seven", 1, 9), Item(8, b"eight!", 2, 0)]),
        "c:ann:bob",
        b"\1\1\7\0\2\0\0\0\0\0\0\0\7ann:bob\0\0\0\5\1\0\0\0\0\0\0\0\t\0\0\0\6\2\0\0\0\0\0\0\0\0seveneight!",
    ),
    (
        TypingChanged("g", "ann", True, 5),
        "c:g",
        b"\1\2\1\0\1\0\0\0\0\0\0\0\1g\0\0\0\3\0\0\0\0\0\0\0\0\5ann",
    ),
    (
        ReceiptsMoved("g", [MovedReceipt.of(None), MovedReceipt.of(Receipt("g", "bob", 3, 2))]),
        "c:g",
        b"\1\3\1\0\2\0\0\0\0\0\0\0\0g\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\x12\0\0\0\0\0\0\0\0\0"
        b"\0\3bob:\x0c\n\1g\x12\3bob\x18\3 \2",
    ),
    (ReceiptsWatched(), "receipts", b""),
    (MembershipsChanged("ann"), "u:ann", b""),
    (DeliveriesReturned("ann", "desk"), "u:ann", b"desk"),
    (PresenceChanged("ann", PresenceRecord(True, None)), "p:ann", b"[true, null]"),
    (
        PresenceChanged("ann", PresenceRecord(False, NOON)),
        "p:ann",
        b'[false, "2026-01-02T12:00:00+00:00"]',
    ),
    (
        LoginsEnded(Revocation(4, "ann", None, NOON, NOON)),
        "revocations",
        b'{"id": 4, "username": "ann", "login_id": null, "revoke_time": "2026-01-02T12:00:00+00:00",'
        b' "expire_time": "2026-01-02T12:00:00+00:00"}',
    ),
    (WorkerAnnounced("1", "n", "h"), "workers", b'{"worker": "1", "database": "n", "host": "h"}'),
]


@pytest.mark.parametrize(("message", "channel", "payload"), BYTES, ids=lambda case: type(case).__name__)
def test_bytes_are_those_of_earlier_releases(message, channel, payload):
    assert (message.channel, message.encode()) == (channel, payload)
    assert decoded(channel, payload) == message


def test_bytes_of_every_message_are_held():
    assert {type(message) for message, _, _ in BYTES} == set(MESSAGES)


@pytest.mark.parametrize("channel", ["c:g", "p:ann", "revocations", "workers"])
@pytest.mark.parametrize("payload", [b"", b"\xff", b"[]", b"1", b"{}", b"[" * 100_000, b'{"id": "x"}'])
def test_nonsense_is_refused(channel, payload):
    with pytest.raises(UnknownMessage):
        decoded(channel, payload)


def test_frame_of_an_unknown_type_is_refused():
    payload = bus_frames.pack(FrameType.ENTRIES, "g", [Item(1, b"x", 1, 0)])
    with pytest.raises(UnknownMessage, match="frame type 9"):
        decoded("c:g", payload[:1] + b"\x09" + payload[2:])


def test_receipt_without_a_name_is_refused():
    with pytest.raises(UnknownMessage):
        decoded("c:g", bus_frames.pack(FrameType.RECEIPTS, "g", [Item(0, b"", 0, 0)]))


def test_channel_of_a_later_release_is_left_alone():
    assert decoded("x:ann", b"what") is None


def test_page_lists_every_message_with_its_channel_and_repair():
    page = (ROOT / "docs" / "bus.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \| [^|]+ \| ([^|]+) \|$", page, re.MULTILINE)
    expected = {(type(message).__name__, to_pattern(message), type(message).REPAIR) for message, _, _ in BYTES}
    assert set(rows) == expected
    assert len(rows) == len(MESSAGES)


def to_pattern(message: BusMessage) -> str:
    """A channel as the page has it, with what it is named for in the place of the name."""
    kind, colon, _ = message.channel.partition(":")
    return kind + colon + {"c": "CONVERSATION", "u": "USER", "p": "USER"}.get(kind, "")


def test_channels_are_named_in_one_file():
    """No channel stands as a literal anywhere else: each use takes a function or a constant of `bus_messages`."""
    literal = re.compile(r"""["'][cup]:|(?:publish_nowait|subscribe|channels)\([^)]*["']""")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / "service").rglob("*.py")
        if path.name != "bus_messages.py"
        for line in path.read_text().splitlines()
        if literal.search(line)
    ]
    assert found == []
