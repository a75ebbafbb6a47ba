"""`GET /metrics` over HTTP, on the supervisor's one loop: no thread, since children are forked here.

One request a connection. Nothing blocks; connections are few and each has a few seconds, so that none holds up the
supervisor or another scrape.
"""

import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

_MAX_CONNECTIONS = 32
_MAX_REQUEST_BYTES = 16 * 1024
_LIMIT_SECONDS = 5.0


class _Answer(BaseHTTPRequestHandler):
    """Turns the bytes of a request into the bytes of its answer."""

    def __init__(self, request: bytes, collector: Collector) -> None:
        self._collector = collector
        self.rfile = BytesIO(request)
        self.wfile = self.answer = BytesIO()
        self.client_address = ("", 0)
        self.handle_one_request()

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, explain="There is /metrics and nothing else.")
            return
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        body = encode(self._collector)
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self) -> None:
        self.send_response(405)
        self.send_header("Allow", "GET")
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815 # names of the base class

    def version_string(self) -> str:
        return "Parley"

    def log_message(self, *_: Any) -> None:
        """Says nothing: scrapes come all the time."""


@dataclass(slots=True, eq=False)
class _Connection:
    """A client: its request is read, the answer written, then its end awaited, so that the answer is not cut off."""

    socket: socket.socket
    deadline: float
    received: bytearray = field(default_factory=bytearray)
    unsent: bytes | None = None


class MetricsEndpoint:
    """Serves a collector's metrics.

    Args:
        listeners: sockets that listen.
        selector: of the loop that calls `serve` for what is ready and has a callable for data.
    """

    def __init__(
        self, listeners: Sequence[socket.socket], selector: selectors.BaseSelector, collector: Collector
    ) -> None:
        self._selector = selector
        self._collector = collector
        self._connections: set[_Connection] = set()
        for listener in listeners:
            listener.setblocking(False)
            selector.register(listener, selectors.EVENT_READ, self._to_callback(self._accept, listener))

    def tick(self) -> None:
        """Hangs up on those who take too long."""
        now = time.monotonic()
        for connection in [each for each in self._connections if each.deadline < now]:
            self._close(connection)

    def _to_callback(self, work: Callable[[Any], None], argument: object) -> Callable[[], None]:
        return lambda: work(argument)

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return  # it is gone already, or no descriptor is left: the next one may fare better
        if len(self._connections) >= _MAX_CONNECTIONS:
            client.close()
            return
        client.setblocking(False)
        connection = _Connection(client, time.monotonic() + _LIMIT_SECONDS)
        self._connections.add(connection)
        self._selector.register(client, selectors.EVENT_READ, self._to_callback(self._serve, connection))

    def _serve(self, connection: _Connection) -> None:
        try:
            if connection.unsent:
                self._write(connection)
            else:
                self._read(connection)
        except BlockingIOError:
            pass  # the selector says when to go on
        except OSError:
            self._close(connection)

    def _read(self, connection: _Connection) -> None:
        data = connection.socket.recv(_MAX_REQUEST_BYTES)
        if not data:
            self._close(connection)
        elif connection.unsent is None:
            connection.received += data
            if len(connection.received) > _MAX_REQUEST_BYTES:
                self._close(connection)
            elif b"\r\n\r\n" in connection.received:
                connection.unsent = _Answer(bytes(connection.received), self._collector).answer.getvalue()
                self._selector.modify(
                    connection.socket, selectors.EVENT_WRITE, self._to_callback(self._serve, connection)
                )

    def _write(self, connection: _Connection) -> None:
        assert connection.unsent is not None
        connection.unsent = connection.unsent[connection.socket.send(connection.unsent) :]
        if not connection.unsent:
            connection.socket.shutdown(socket.SHUT_WR)
            self._selector.modify(connection.socket, selectors.EVENT_READ, self._to_callback(self._serve, connection))

    def _close(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self._selector.unregister(connection.socket)
        connection.socket.close()
