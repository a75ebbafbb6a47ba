"""The fields of a hello: checks and conversion. Pure. `opening.py` carries a hello out."""

from dataclasses import dataclass

from parley.v1 import chat_pb2

from service.convert.durations import to_seconds
from service.convert.positions import from_position
from service.delivery.window import Window
from service.domain import checks
from service.domain.errors import InvalidRequest
from service.domain.field_checks import FieldChecks
from service.domain.limits import (
    MAX_ACK_DEADLINE_SECONDS,
    MAX_HEARTBEAT_SECONDS,
    MAX_HELD_MESSAGES,
    MAX_HELLO_POSITIONS,
    MAX_WINDOW_MESSAGES,
    MIN_ACK_DEADLINE_SECONDS,
    MIN_HEARTBEAT_SECONDS,
)
from storage.records import AckMode, DeviceMode


@dataclass(frozen=True, slots=True)
class Terms:
    """What a client asks of its stream.

    Attributes:
        device_id: "": the login's device.
        mode: how the device acknowledges.
        positions: where conversations begin, for those that the client names; seq by conversation.
        epoch: of these positions; 0: not said.
        starts_at_latest: conversations in which the device has no position begin at their end.
        window: with cumulative acks, what the client lets be under way; None: no limit of its own.
        manual_window: with manual acks, how many messages the stream may hold.
        ack_deadline_seconds: with manual acks, how long the stream has for each ack; None: the server's default.
        heartbeat_seconds: after how much silence the server writes; None: never.
        watches_receipts: the client wants receipts.
    """

    device_id: str
    no_echo: bool
    mode: DeviceMode
    positions: dict[str, int]
    epoch: int
    starts_at_latest: bool
    window: Window | None
    manual_window: int
    ack_deadline_seconds: float | None
    heartbeat_seconds: float | None
    watches_receipts: bool


def to_terms(hello: chat_pb2.Hello) -> Terms:
    """Returns what the hello asks for.

    Raises:
        InvalidRequest: fields are out of their range, or of another mode.
    """
    with FieldChecks() as check:
        heartbeat_seconds = check(_to_heartbeat, hello)
        positions = check(_to_positions, hello)
        epoch = check(checks.to_natural, hello.epoch, "epoch")
        device_id = check(checks.to_device_id, hello.device_id)
        mode = check(_to_mode, hello)
        starts_at_latest = check(_to_starts_at_latest, hello)
        window = check(_to_window, hello)
        ack_deadline_seconds = check(_to_ack_deadline, hello)
    return Terms(
        device_id=device_id,
        no_echo=hello.no_echo,
        mode=mode,
        positions=positions,
        epoch=epoch,
        starts_at_latest=starts_at_latest,
        window=window if mode.ack_mode is AckMode.CUMULATIVE else None,
        manual_window=min(hello.window_messages or MAX_HELD_MESSAGES, MAX_HELD_MESSAGES),
        ack_deadline_seconds=ack_deadline_seconds,
        heartbeat_seconds=heartbeat_seconds,
        watches_receipts=hello.watch_receipts,
    )


def _to_heartbeat(hello: chat_pb2.Hello) -> float | None:
    if not hello.HasField("heartbeat"):
        return None
    seconds = to_seconds(hello.heartbeat)
    if not MIN_HEARTBEAT_SECONDS <= seconds <= MAX_HEARTBEAT_SECONDS:
        raise InvalidRequest("heartbeat", "must be 1 s to 600 s")
    return seconds


def _to_positions(hello: chat_pb2.Hello) -> dict[str, int]:
    if len(hello.positions) > MAX_HELLO_POSITIONS:
        raise InvalidRequest("positions", f"must be at most {MAX_HELLO_POSITIONS}")
    return dict(from_position(position) for position in hello.positions)


def _to_mode(hello: chat_pb2.Hello) -> DeviceMode:
    match hello.ack_mode:
        case chat_pb2.ACK_MODE_UNSPECIFIED | chat_pb2.ACK_MODE_CUMULATIVE:
            with FieldChecks() as check:
                check(_refuse_given, "ordered", "ACK_MODE_MANUAL", is_given=hello.ordered)
                check(_refuse_given, "ack_deadline", "ACK_MODE_MANUAL", is_given=hello.HasField("ack_deadline"))
            return DeviceMode()
        case chat_pb2.ACK_MODE_MANUAL:
            if hello.positions:
                raise InvalidRequest("positions", "must be empty with ACK_MODE_MANUAL, the server keeps them")
            _refuse_given("window_bytes", "ACK_MODE_CUMULATIVE", is_given=bool(hello.window_bytes))
            return DeviceMode(AckMode.MANUAL, is_ordered=hello.ordered, no_echo=hello.no_echo)
        case _:
            raise InvalidRequest("ack_mode", "must be ACK_MODE_CUMULATIVE or ACK_MODE_MANUAL")


def _refuse_given(field: str, mode: str, *, is_given: bool) -> None:
    if is_given:
        raise InvalidRequest(field, f"goes with {mode} alone")


def _to_starts_at_latest(hello: chat_pb2.Hello) -> bool:
    # A newer client's choice that is not known here must not silently become the default.
    if hello.start not in chat_pb2.Start.values():
        raise InvalidRequest("start", "must be START_FROM_ACKS or START_LATEST")
    return hello.start == chat_pb2.START_LATEST


def _to_window(hello: chat_pb2.Hello) -> Window | None:
    with FieldChecks() as check:
        check(checks.to_natural, hello.window_messages, "window_messages")
        check(checks.to_natural, hello.window_bytes, "window_bytes")
    if not (hello.window_messages or hello.window_bytes):
        return None
    return Window(min(hello.window_messages or MAX_WINDOW_MESSAGES, MAX_WINDOW_MESSAGES), hello.window_bytes)


def _to_ack_deadline(hello: chat_pb2.Hello) -> float | None:
    if hello.ack_mode != chat_pb2.ACK_MODE_MANUAL or not hello.HasField("ack_deadline"):
        return None
    seconds = to_seconds(hello.ack_deadline)
    if not MIN_ACK_DEADLINE_SECONDS <= seconds <= MAX_ACK_DEADLINE_SECONDS:
        raise InvalidRequest("ack_deadline", "must be 1 s to 3600 s")
    return seconds
