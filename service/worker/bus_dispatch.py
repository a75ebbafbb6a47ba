"""Passes each message of the bus to the handler of its class. The composition makes the table of handlers."""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, TypeVar, get_args

import structlog

from service.delivery import bus_frames, bus_messages
from service.delivery.bus_decoder import decode
from service.delivery.bus_frames import UnknownMessage
from service.delivery.bus_messages import BusMessage, WorkerAnnounced
from service.delivery.hub import Hub

_log = structlog.get_logger(__name__)

Message = TypeVar("Message", bound=BusMessage)
Handler: TypeAlias = tuple[type[Any], Callable[[Any], object]]


def handler(kind: type[Message], handle: Callable[[Message], object]) -> Handler:
    """A row of the table: messages of this class go to this function, which must not block."""
    return kind, handle


class BusDispatcher:
    """Decodes what comes in and calls the handler. What can't be read is left out: PostgreSQL has what matters.

    Args:
        hub: says which entries are wanted, before they are decoded.
        handlers: one for each class of `BusMessage`.

    Raises:
        ValueError: a class has no handler, or two.
    """

    def __init__(self, hub: Hub, handlers: Iterable[Handler]) -> None:
        rows = list(handlers)
        self._hub = hub
        self._handlers = dict(rows)
        wrong = {kind.__name__ for kind in set(get_args(BusMessage)) ^ self._handlers.keys()}
        if wrong or len(rows) != len(self._handlers):
            raise ValueError(f"not one handler for each bus message: {sorted(wrong) or 'some have two'}")

    def take(self, channel: str, payload: bytes) -> None:
        """Takes a message of this database's workers."""
        kind, _, name = channel.partition(":")
        try:
            if kind == bus_messages.CONVERSATION and not self._hub.wants(name, bus_frames.last_seq(payload)):
                return
            message = decode(kind, name, payload)
            if message is not None:
                self._handlers[type(message)](message)
        except UnknownMessage as error:
            _log.warning("bus message not understood", channel=channel, error=str(error))
        except Exception:  # noqa: BLE001 # whatever was published, the bus must go on for the others
            _log.exception("bus message failed", channel=channel)

    def take_common(self, payload: bytes) -> None:
        """Takes an announcement of a worker, also of another database's; what can't be read proves nothing."""
        try:
            message = decode(bus_messages.WORKERS_CHANNEL, "", payload)
        except UnknownMessage:
            return
        self._handlers[WorkerAnnounced](message)
