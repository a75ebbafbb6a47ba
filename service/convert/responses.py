"""Bytes of a ChatResponse for everything that a stream gets besides stored messages. Such bytes can be joined."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from google.rpc import status_pb2
from parley.v1 import chat_pb2, message_pb2, presence_pb2

from service.convert import fast_wire
from service.convert.items import Item
from service.convert.messages import to_message
from service.convert.status import to_status
from service.convert.timestamps import to_timestamp
from service.domain.errors import ParleyError
from storage.records import Entry, Outcome, Receipt, ReceiptCount, Stored


def entry_item(entry: Entry) -> Item:
    """Encodes an entry that was read from the log. Its origin is not known any more: echoes of it are delivered."""
    return Item(entry.seq, fast_wire.framed(to_message(entry).SerializeToString()), entry.kind, 0)


def delivery(entry: Entry, attempt: int) -> bytes:
    """An entry for one stream with manual acks; `attempt` counts from 1."""
    message = to_message(entry)
    message.delivery_attempt = attempt
    return fast_wire.framed(message.SerializeToString())


def create_seconds_of(item: Item) -> float:
    """Returns when an item was committed, in Unix seconds of PostgreSQL's clock; decodes the item."""
    time = chat_pb2.ChatResponse.FromString(item.body).messages[0].create_time
    return float(time.seconds + time.nanos / 1e9)


def results(
    correlation_id: int, conversation_ids: Sequence[str], outcomes: Iterable[tuple[int, Stored | ParleyError]]
) -> bytes:
    """What became of messages of one frame.

    Args:
        conversation_ids: where each message of the frame went, by index.
        outcomes: (index, outcome) of some of them.
    """
    number = fast_wire.result_number(correlation_id)
    places: dict[str, bytes] = {}
    bodies: list[bytes] = []
    for index, outcome in outcomes:
        conversation_id = conversation_ids[index]
        if isinstance(outcome, ParleyError):
            refusal = result(correlation_id, index, conversation_id, outcome)
            bodies.append(chat_pb2.ChatResponse(results=[refusal]).SerializeToString())
        elif correlation_id:
            what, seq, create_time = outcome
            assert create_time is not None
            if (place := places.get(conversation_id)) is None:
                place = places[conversation_id] = fast_wire.accepted_place(conversation_id)
            is_repeat = what is Outcome.DUPLICATE
            bodies.append(fast_wire.accepted_result(number, index, place, seq, create_time, is_deduplicated=is_repeat))
    return b"".join(bodies)


def result(
    correlation_id: int, index: int, conversation_id: str, outcome: Stored | ParleyError
) -> message_pb2.SendResult:
    """What became of one message."""
    if isinstance(outcome, ParleyError):
        return message_pb2.SendResult(correlation_id=correlation_id, index=index, error=to_status(outcome))
    assert outcome.create_time is not None
    return message_pb2.SendResult(
        correlation_id=correlation_id,
        index=index,
        accepted=message_pb2.Accepted(
            conversation_id=conversation_id,
            seq=outcome.seq,
            create_time=to_timestamp(outcome.create_time),
            deduplicated=outcome.outcome is Outcome.DUPLICATE,
        ),
    )


def caught_up(marks: Iterable[tuple[str, int, bool]]) -> bytes:
    """Marks of (conversation, last seq of its past, whether all are brought)."""
    return chat_pb2.ChatResponse(
        caught_up=[
            chat_pb2.CaughtUp(conversation_id=conversation_id, seq=seq, complete=is_complete)
            for conversation_id, seq, is_complete in marks
        ]
    ).SerializeToString()


def resets(starts: Iterable[tuple[str, int]], epoch: int) -> bytes:
    """Word of (conversation, where to start again)."""
    return chat_pb2.ChatResponse(
        resets=[
            chat_pb2.Reset(conversation_id=conversation_id, seq=seq, epoch=epoch) for conversation_id, seq in starts
        ]
    ).SerializeToString()


def error(correlation_id: int, refusal: ParleyError) -> bytes:
    """A refused frame."""
    return status_error(correlation_id, to_status(refusal))


def status_error(correlation_id: int, status: status_pb2.Status) -> bytes:
    """A refused frame, with a status that is ready."""
    return chat_pb2.ChatResponse(
        errors=[chat_pb2.StreamError(correlation_id=correlation_id, error=status)]
    ).SerializeToString()


def typing(conversation_id: str, username: str, *, is_active: bool) -> bytes:
    """Somebody writes, or stopped."""
    return chat_pb2.ChatResponse(
        typing=[presence_pb2.TypingEvent(conversation_id=conversation_id, username=username, active=is_active)]
    ).SerializeToString()


def receipts(known: Iterable[Receipt]) -> bytes:
    """Up to where members have, and have read."""
    return chat_pb2.ChatResponse(
        receipts=[
            chat_pb2.Receipt(
                conversation_id=receipt.conversation_id,
                username=receipt.username,
                delivered_seq=receipt.delivered_seq,
                read_seq=receipt.read_seq,
            )
            for receipt in known
        ]
    ).SerializeToString()


def receipt_count(count: ReceiptCount) -> bytes:
    """How many members have, and have read, all."""
    return chat_pb2.ChatResponse(
        receipts=[
            chat_pb2.Receipt(
                conversation_id=count.conversation_id,
                seq=count.seq,
                delivered_count=count.delivered_count,
                read_count=count.read_count,
            )
        ]
    ).SerializeToString()


def heartbeat() -> bytes:
    """A sign of life."""
    return chat_pb2.ChatResponse(
        heartbeats=[chat_pb2.Heartbeat(server_time=to_timestamp(datetime.now(UTC)))]
    ).SerializeToString()


def go_away(delay_seconds: float) -> bytes:
    """The stream is about to end."""
    away = chat_pb2.GoAway()
    away.reconnect_delay.FromMilliseconds(int(delay_seconds * 1000))
    return chat_pb2.ChatResponse(go_aways=[away]).SerializeToString()
