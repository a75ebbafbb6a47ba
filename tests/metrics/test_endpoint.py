"""The endpoint on a loop of the test's own: what a client may do to it, counted in turns of the loop."""

import selectors
import socket
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.registry import Collector

from service.host.metrics_answer import accepts_openmetrics
from service.host.metrics_endpoint import MAX_CONNECTIONS, MetricsEndpoint

GET = b"GET /metrics HTTP/1.1\r\n\r\n"
# A conversation of one request takes no more of them.
TURNS = 10


class Failing(Collector):
    """Has nothing to show but an error."""

    def collect(self) -> Iterator[None]:
        raise RuntimeError("no numbers")


class Loop:
    """An endpoint, the loop that it is on, and clients of it."""

    def __init__(self, collector: Collector, kind: type[MetricsEndpoint] = MetricsEndpoint) -> None:
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.endpoint = kind([self.listener], self.selector, collector, lambda: "")
        self.clients: list[socket.socket] = []

    def connect(self, request: bytes = b"") -> socket.socket:
        """A client that has been accepted, and sent this."""
        client = socket.create_connection(self.address, timeout=5)
        self.clients.append(client)
        client.sendall(request)
        self.turn()
        client.setblocking(False)
        return client

    def turn(self) -> int:
        """One turn of the loop, when something is ready; says how much was."""
        ready = [key for key, _ in self.selector.select(0.05)]
        self.endpoint.serve(ready)
        return len(ready)

    def answer(self, client: socket.socket) -> bytes:
        """All that the client gets until it is hung up on, within some turns."""
        answer = b""
        for _ in range(TURNS):
            try:
                data = client.recv(65536)
            except BlockingIOError:
                self.turn()
                continue
            if not data:
                return answer
            answer += data
        raise AssertionError(f"it goes on after {TURNS} turns: {answer!r}")

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.endpoint.close()
        self.selector.close()


@pytest.fixture
def open_loop() -> Iterator[Callable[..., Loop]]:
    loops: list[Loop] = []

    def open_one(collector: Collector | None = None, kind: type[MetricsEndpoint] = MetricsEndpoint) -> Loop:
        if collector is None:
            registry = CollectorRegistry()
            Gauge("depth", "How deep.", registry=registry).set(3)
            collector = registry
        loops.append(Loop(collector, kind))
        return loops[-1]

    yield open_one
    for loop in loops:
        loop.close()


def test_scrape_is_answered_and_then_waits_for_the_client_to_hang_up(open_loop: Callable[..., Loop]) -> None:
    loop = open_loop()
    client = loop.connect(GET)
    assert b"\ndepth 3.0\n" in loop.answer(client)
    assert not loop.turn(), "nothing to do until the client does something"
    client.close()
    assert loop.turn() == 1
    assert not loop.turn()


def test_request_without_an_answer_is_hung_up_on_at_once(open_loop: Callable[..., Loop]) -> None:
    loop = open_loop()
    assert loop.answer(loop.connect(b"\r\n\r\n")) == b""
    assert len(loop.selector.get_map()) == 1, "its place is free: only the listener is left"


def test_numbers_that_can_not_be_had_are_an_error_of_the_server(open_loop: Callable[..., Loop]) -> None:
    loop = open_loop(Failing())
    assert loop.answer(loop.connect(GET)).startswith(b"HTTP/1.0 500 ")
    assert loop.answer(loop.connect(GET)).startswith(b"HTTP/1.0 500 ")


def test_silent_clients_make_room_the_oldest_first(open_loop: Callable[..., Loop]) -> None:
    loop = open_loop()
    asked = loop.connect(GET)
    silent = [loop.connect() for _ in range(MAX_CONNECTIONS - 1)]
    late = loop.connect(GET)
    assert b"depth" in loop.answer(asked)
    assert b"depth" in loop.answer(late)
    assert loop.answer(silent[0]) == b""
    with pytest.raises(BlockingIOError):
        silent[1].recv(1)


def test_one_that_made_room_when_it_was_ready_is_left_alone(open_loop: Callable[..., Loop]) -> None:
    loop = open_loop()
    silent = [loop.connect() for _ in range(MAX_CONNECTIONS)]
    late = [socket.create_connection(loop.address, timeout=5) for _ in range(3)]
    loop.clients += late
    for client in silent:
        client.sendall(GET)
    ready = [key for key, _ in loop.selector.select(0.05)]
    loop.endpoint.serve(sorted(ready, key=lambda key: key.fileobj is not loop.listener))
    assert loop.selector.get_map(), "it serves on"
    with pytest.raises(ConnectionResetError):  # what it had sent was not read
        loop.answer(silent[0])
    assert b"depth" in loop.answer(silent[1])


def test_failure_that_nobody_foresaw_ends_the_metrics_and_nothing_else(open_loop: Callable[..., Loop]) -> None:
    class Broken(MetricsEndpoint):
        def _accept(self, listener: socket.socket) -> None:
            raise RuntimeError("broken")

    loop = open_loop(kind=Broken)
    loop.connect()
    assert not loop.selector.get_map()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(loop.address, timeout=5)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain; version=x", False),
        ("text/plain;version=1.0.0", False),
        ("application/openmetrics-text", True),
        ("text/plain, Application/OpenMetrics-Text ; version=1.0.0 ;q=0.5", True),
        ("application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3", False),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;version=x,application/openmetrics-text;version=1.0.0", True),
    ],
)
def test_openmetrics_is_given_only_in_the_version_that_is_known(accept: str, expected: bool) -> None:
    assert accepts_openmetrics(accept) == expected
