"""Every message of the bus has one handler, and what can't be read costs nothing."""

from typing import Any, get_args

import pytest
import structlog

from service.convert.items import Item
from service.delivery.bus_messages import BusMessage, EntriesStored, MembershipsChanged, WorkerAnnounced
from service.delivery.changed_memberships import ChangedMemberships
from service.delivery.channel import Channel
from service.delivery.hub import Hub
from service.domain.clock import loop_clock
from service.worker.bus_dispatch import BusDispatcher, handler
from storage.postgres.connections.database import Database
from storage.postgres.log.messages import Messages

MESSAGES = get_args(BusMessage)


@pytest.fixture
async def hub(database: Database) -> Hub:
    """Listens to the conversation g, of which it has 3 entries."""
    made = Hub(Messages(database), ChangedMemberships(), loop_clock())
    made.channels["g"] = Channel("g")
    made.open(made.channels["g"], 3)
    return made


def dispatcher(hub: Hub, taken: list[Any]) -> BusDispatcher:
    return BusDispatcher(hub, [handler(kind, taken.append) for kind in MESSAGES])


async def test_message_without_a_handler_or_with_two_is_refused_at_the_start(hub):
    rows = [handler(kind, lambda _: None) for kind in MESSAGES]
    for nth, kind in enumerate(MESSAGES):
        with pytest.raises(ValueError, match=kind.__name__):
            BusDispatcher(hub, rows[:nth] + rows[nth + 1 :])
    with pytest.raises(ValueError, match="two"):
        BusDispatcher(hub, [*rows, rows[0]])
    with pytest.raises(ValueError, match="str"):
        BusDispatcher(hub, [*rows, (str, print)])


async def test_message_goes_to_the_handler_of_its_class(hub):
    taken: list[Any] = []
    takes = dispatcher(hub, taken)
    announced = WorkerAnnounced("1", "n", "h")
    takes.take("u:ann", b"")
    takes.take_common(announced.encode())
    assert taken == [MembershipsChanged("ann"), announced]


@pytest.mark.parametrize(
    ("conversation_id", "seqs", "is_taken"),
    [("g", [3], False), ("g", [3, 4], True), ("g", [5], True), ("h", [1], False)],
)
async def test_entries_that_are_known_or_nobodys_are_not_decoded(hub, conversation_id, seqs, is_taken):
    taken: list[Any] = []
    message = EntriesStored(conversation_id, [Item(seq, b"x", 1, 0) for seq in seqs])
    dispatcher(hub, taken).take(message.channel, message.encode())
    assert taken == ([message] if is_taken else [])


async def test_nonsense_and_a_handler_that_fails_are_logged_and_the_next_message_is_taken(hub):
    def fail(_: object) -> None:
        raise ZeroDivisionError

    taken: list[Any] = []
    rows = [handler(kind, fail if kind is MembershipsChanged else taken.append) for kind in MESSAGES]
    takes = BusDispatcher(hub, rows)
    message = EntriesStored("g", [Item(4, b"x", 1, 0)])
    with structlog.testing.capture_logs() as logs:
        takes.take("revocations", b"what")
        takes.take("u:ann", b"")
        takes.take_common(b"what")
        takes.take(message.channel, message.encode())
    assert [entry["event"] for entry in logs] == ["bus message not understood", "bus message failed"]
    assert taken == [message]
