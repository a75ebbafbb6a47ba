"""Turns the bytes of a scrape's request into those of its answer; whatever came in, it raises nothing.

prometheus-client's own choice of a format is not used: it raises on some headers, and repeats parts of them.
"""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any

import structlog
from prometheus_client import exposition as text
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

_TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PLAIN_TYPE = "text/plain; charset=utf-8"
_FAILED = b"HTTP/1.0 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

_log = structlog.get_logger(__name__)


def to_answer(request: bytes, collector: Collector, find_trouble: Callable[[], str]) -> bytes:
    """Returns the bytes to write; empty where the connection is only to be closed: an empty line asks for nothing.

    Args:
        request: up to the empty line after its headers, at least.
        find_trouble: says why no calls should be sent here; "" where they should.
    """
    try:
        return _Answer(request, collector, find_trouble).answer.getvalue()
    except Exception:  # noqa: BLE001 # who scrapes must not end what serves
        _log.exception("scrape failed")
        return _FAILED


def accepts_openmetrics(accept: str) -> bool:
    """Returns whether an Accept header names OpenMetrics, in the version that is written here or in any."""
    for accepted in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in accepted.split(";"))
        versions = [each for each in parameters if each.startswith("version")]
        if kind == "application/openmetrics-text" and versions in ([], ["version=1.0.0"]):
            return True
    return False


class _Answer(BaseHTTPRequestHandler):
    """One request and its answer, without a socket."""

    def __init__(self, request: bytes, collector: Collector, find_trouble: Callable[[], str]) -> None:
        self._collector = collector
        self._find_trouble = find_trouble
        self.rfile = BytesIO(request)
        self.wfile = self.answer = BytesIO()
        self.client_address = ("", 0)
        self.handle_one_request()

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics" if accepts_openmetrics(self.headers.get("Accept", "")):
                body = openmetrics.generate_latest(self._collector)  # type: ignore[no-untyped-call] # has no types
                self._send(200, openmetrics.CONTENT_TYPE_LATEST, body)
            case "/metrics":
                self._send(200, _TEXT_TYPE, text.generate_latest(self._collector))
            case "/livez":
                self._send(200, _PLAIN_TYPE, b"ok\n")
            case "/readyz":
                trouble = self._find_trouble()
                self._send(503 if trouble else 200, _PLAIN_TYPE, f"{trouble or 'ok'}\n".encode())
            case _:
                self.send_error(404, explain="There are /metrics, /livez and /readyz.")

    do_HEAD = do_GET  # noqa: N815 # a name of the base class

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self) -> None:
        self.send_response(405)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815 # names of the base class

    def version_string(self) -> str:
        return "Parley"

    def log_message(self, *_: Any) -> None:
        """Says nothing: scrapes come all the time."""
