"""What clients send to the metrics' port of a real server: whatever it is, the server lives and scrapes go on."""

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import psutil
import pytest

from tests.support.scrapes import ON, Metrics, url_of
from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def measured() -> Iterator[RunningServer]:
    """A server of one worker that shows metrics."""
    with running_server(settings=ON) as server:
        yield server


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("GET", "/metricsx", 404), ("POST", "/metrics", 405)]
)
def test_only_get_metrics_is_answered(measured: RunningServer, method: str, path: str, status: int) -> None:
    url = url_of(measured).removesuffix("/metrics") + path
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(url, method=method, data=b"x" if method == "POST" else None))
    assert caught.value.code == status
    caught.value.close()


def test_silent_and_broken_clients_hold_up_nobody(measured: RunningServer) -> None:
    address = address_of(measured)
    silent = [socket.create_connection(address) for _ in range(10)]
    try:
        for opened in silent[:5]:
            opened.sendall(b"GET /metrics HT")
        assert Metrics(measured).value("workers_ready") == 1
        for garbage, answer in ((b"\x16\x03\x01\r\n\r\n", b"400"), (b"A" * 100_000, b"")):
            with socket.create_connection(address, timeout=10) as broken:
                try:
                    broken.sendall(garbage)
                    assert answer in broken.recv(4096)
                except ConnectionError:
                    assert answer == b""
        wait_until(lambda: not silent[0].recv(1), what="the end of one that says nothing")
    finally:
        for opened in silent:
            opened.close()
    assert Metrics(measured).value("workers_ready") == 1


@pytest.mark.parametrize(
    "headers",
    [
        b"Accept: text/plain; version=x",
        b"Accept: text/plain;version=",
        b"Accept: application/openmetrics-text;version=1.0.0.x",
        b"Accept: application/openmetrics-text; version=1.0.0\r\n X: injected",
        b"Accept: application/openmetrics-text;version=99999999999999999999.0.0;escaping=\xff",
        b"Accept: ;;;,,,;=;version",
        b"Accept: \xff\xfe\x00\x80",
        b"Accept: " + b"application/openmetrics-text;version=z," * 300,
        b": nameless\r\n\x00\r\n =",
    ],
)
def test_no_header_ends_the_server(measured: RunningServer, headers: bytes) -> None:
    answer = exchange(measured, b"GET /metrics HTTP/1.1\r\n" + headers + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 200 "), answer[:100]
    assert b"injected" not in answer
    assert Metrics(measured).value("workers_ready") == 1


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n\r\n",
        b"\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET /metrics HTTP/" + b"9" * 5000 + b".1\r\n\r\n",
        b"GET \xff\xfe HTTP/1.1\r\n\r\n",
        b"__class__ /metrics HTTP/1.1\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"GET /metrics HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: x\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ],
)
def test_no_request_ends_the_server(measured: RunningServer, request_bytes: bytes) -> None:
    exchange(measured, request_bytes)
    assert Metrics(measured).value("workers_ready") == 1
    assert not [line for line in measured.output if "scrape failed" in line]


def test_while_the_server_stops_it_is_alive_and_not_ready() -> None:
    with running_server(settings=ON | {"PARLEY_SHUTDOWN_DELAY_SECONDS": "3600"}) as stopping:
        assert exchange(stopping, b"GET /readyz HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.0 200 ")
        stopping.process.terminate()
        wait_until(lambda: "serving on before the end" in stopping.text, what="the delay")
        answer = exchange(stopping, b"GET /readyz HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.0 503 ")
        assert answer.endswith(b"\r\n\r\nthe server is stopping\n")
        head = exchange(stopping, b"HEAD /readyz HTTP/1.1\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 503 ")
        assert head.endswith(b"\r\n\r\n")
        assert exchange(stopping, b"GET /livez HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\nok\n")
        assert b"parley_workers_ready" in exchange(stopping, b"GET /metrics HTTP/1.1\r\n\r\n")


def test_without_the_database_it_is_alive_and_not_ready() -> None:
    with running_server(settings=ON) as cut_off:
        (postgres,) = [
            each
            for each in psutil.Process(cut_off.process.pid).children()
            if "bin/postgres" in " ".join(each.cmdline())
        ]
        postgres.suspend()
        backends = postgres.children()
        for each in backends:
            each.suspend()
        try:
            wait_until(
                lambda: b"\r\n\r\nPostgreSQL does not answer\n" in exchange(cut_off, b"GET /readyz HTTP/1.1\r\n\r\n"),
                limit_seconds=30,
                what="word of it",
            )
            assert exchange(cut_off, b"GET /livez HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.0 200 ")
        finally:
            for each in (*backends, postgres):
                each.resume()
        wait_until(
            lambda: exchange(cut_off, b"GET /readyz HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.0 200 "),
            limit_seconds=30,
            what="its return",
        )


def exchange(server: RunningServer, request: bytes) -> bytes:
    """Sends it over a connection of its own; gives all that comes until the server hangs up."""
    with socket.create_connection(address_of(server), timeout=10) as client:
        client.sendall(request)
        with client.makefile("rb") as answer:
            return answer.read()


def address_of(server: RunningServer) -> tuple[str, int]:
    host, _, port = url_of(server).removeprefix("http://").removesuffix("/metrics").rpartition(":")
    return host, int(port)


def worker_of(server: RunningServer) -> psutil.Process:
    children = psutil.Process(server.process.pid).children()
    return next(child for child in children if " ".join(child.cmdline()).startswith("parley worker"))
