"""Turns the bytes of a scrape's request into those of its answer; whatever came in, it raises nothing.

prometheus-client's own choice of a format is not used: it raises on some headers, and repeats parts of them.
"""

from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any

import structlog
from prometheus_client import exposition as text
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

_TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FAILED = b"HTTP/1.0 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

_log = structlog.get_logger(__name__)


def to_answer(request: bytes, collector: Collector) -> bytes:
    """Gives what to write; empty where there is only to hang up: an empty line asks for nothing.

    Args:
        request: up to the empty line after its headers, at least.
    """
    try:
        return _Answer(request, collector).answer.getvalue()
    except Exception:  # noqa: BLE001 # who scrapes must not end what serves
        _log.exception("scrape failed")
        return _FAILED


def accepts_openmetrics(accept: str) -> bool:
    """Says whether an Accept header names OpenMetrics, in the version that is written here or in any."""
    for accepted in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in accepted.split(";"))
        versions = [each for each in parameters if each.startswith("version")]
        if kind == "application/openmetrics-text" and versions in ([], ["version=1.0.0"]):
            return True
    return False


class _Answer(BaseHTTPRequestHandler):
    """One request and its answer, without a socket."""

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
        if accepts_openmetrics(self.headers.get("Accept", "")):
            body = openmetrics.generate_latest(self._collector)  # type: ignore[no-untyped-call] # has no types
            content_type = openmetrics.CONTENT_TYPE_LATEST
        else:
            body, content_type = text.generate_latest(self._collector), _TEXT_TYPE
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
