"""`/metrics`, `/livez` and `/readyz` over HTTP on the supervisor's loop: no thread, as children are forked here.

One request a connection. Nothing blocks; connections are few and each has a few seconds, so that none holds up the
supervisor or another scrape. Nothing is raised either: the server goes on without metrics sooner than not at all.
"""

import selectors
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import structlog
from prometheus_client.registry import Collector

from service.host.metrics_answer import to_answer

MAX_CONNECTIONS = 32
_MAX_REQUEST_BYTES = 16 * 1024
_LIMIT_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class _State(Enum):
    """What a connection waits for."""

    READING = auto()  # the end of its request
    WRITING = auto()  # room for the answer
    DRAINING = auto()  # the client's end: hanging up before it could cut the answer off


@dataclass(slots=True, eq=False)
class _Connection:
    """A client."""

    socket: socket.socket
    deadline: float
    state: _State = _State.READING
    received: bytearray = field(default_factory=bytearray)
    unsent: bytes = b""


class MetricsEndpoint:
    """Serves a collector's metrics, and the state of the server.

    Args:
        listeners: sockets that listen; closed at the end.
        selector: of the loop that calls `serve` with what is ready.
        find_trouble: says why no calls should be sent to this server; "" where they should.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        selector: selectors.BaseSelector,
        collector: Collector,
        find_trouble: Callable[[], str],
    ) -> None:
        self._selector = selector
        self._collector = collector
        self._find_trouble = find_trouble
        self._connections: set[_Connection] = set()
        self._listeners = list(listeners)
        for listener in listeners:
            listener.setblocking(False)
            selector.register(listener, selectors.EVENT_READ, self._to_callback(self._accept, listener))

    def serve(self, ready: Iterable[selectors.SelectorKey]) -> None:
        """Does what can be done now, and hangs up on those who take too long.

        Args:
            ready: what the selector says; those that are not of here have no data.
        """
        try:
            for key in ready:
                if key.data is not None:
                    key.data()
            now = time.monotonic()
            for connection in [each for each in self._connections if each.deadline < now]:
                self._close(connection)
        except Exception:  # noqa: BLE001 # the loop keeps all processes running, which is worth more
            _log.exception("metrics can't be served any more")
            self.close()

    def close(self) -> None:
        """Ends it all: from here on nobody would answer."""
        for connection in list(self._connections):
            self._close(connection)
        while self._listeners:
            listener = self._listeners.pop()
            self._selector.unregister(listener)
            listener.close()

    def _to_callback(self, work: Callable[[Any], None], argument: object) -> Callable[[], None]:
        return lambda: work(argument)

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return  # it is gone already, or no descriptor is left: the next one may fare better
        if not self._has_room():
            client.close()
            return
        client.setblocking(False)
        connection = _Connection(client, time.monotonic() + _LIMIT_SECONDS)
        self._selector.register(client, selectors.EVENT_READ, self._to_callback(self._go_on, connection))
        self._connections.add(connection)

    def _has_room(self) -> bool:
        """Returns whether one more may come; the oldest one that has not asked yet makes room for it."""
        if len(self._connections) < MAX_CONNECTIONS:
            return True
        silent = [each for each in self._connections if each.state is _State.READING]
        if silent:
            self._close(min(silent, key=lambda each: each.deadline))
        return bool(silent)

    def _go_on(self, connection: _Connection) -> None:
        if connection not in self._connections:
            return  # made room for another one a moment ago, when it was ready already
        try:
            _STEPS[connection.state](self, connection)
        except BlockingIOError:
            pass  # the selector says when to go on
        except OSError:
            self._close(connection)

    def _read(self, connection: _Connection) -> None:
        data = connection.socket.recv(_MAX_REQUEST_BYTES)
        connection.received += data
        if not data or len(connection.received) > _MAX_REQUEST_BYTES:
            self._close(connection)
        elif b"\r\n\r\n" in connection.received:
            connection.unsent = to_answer(bytes(connection.received), self._collector, self._find_trouble)
            if connection.unsent:
                self._wait(connection, _State.WRITING, selectors.EVENT_WRITE)
            else:
                self._close(connection)

    def _write(self, connection: _Connection) -> None:
        connection.unsent = connection.unsent[connection.socket.send(connection.unsent) :]
        if not connection.unsent:
            connection.socket.shutdown(socket.SHUT_WR)
            self._wait(connection, _State.DRAINING, selectors.EVENT_READ)

    def _drain(self, connection: _Connection) -> None:
        if not connection.socket.recv(_MAX_REQUEST_BYTES):
            self._close(connection)

    def _wait(self, connection: _Connection, state: _State, event: int) -> None:
        connection.state = state
        self._selector.modify(connection.socket, event, self._to_callback(self._go_on, connection))

    def _close(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self._selector.unregister(connection.socket)
        connection.socket.close()


_STEPS: dict[_State, Callable[[MetricsEndpoint, _Connection], None]] = {
    _State.READING: MetricsEndpoint._read,
    _State.WRITING: MetricsEndpoint._write,
    _State.DRAINING: MetricsEndpoint._drain,
}
