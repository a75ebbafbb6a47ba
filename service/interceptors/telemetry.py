"""Names each call, so that every line of the log says which call it is about, and counts calls and refusals."""

import os
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import grpc

from service.logs import current_call_id
from service.metrics.histogram import SECONDS, Histogram


class ErrorCounts:
    """What was refused, by method and reason."""

    def __init__(self) -> None:
        self.by_method_and_reason: Counter[tuple[str, str]] = Counter()

    def note(self, method: str, reason: str) -> None:
        """Counts one."""
        self.by_method_and_reason[method, reason] += 1


class CallCounts:
    """What becomes of the calls of a worker.

    Attributes:
        seconds: the times of each unary method.
    """

    def __init__(self, unary_methods: Iterable[str]) -> None:
        self.seconds = {method: Histogram(SECONDS) for method in unary_methods}
        self.errors = ErrorCounts()


def begin_call() -> str:
    """Makes the call's id and sets it for this task and those that it starts."""
    call_id = os.urandom(6).hex()
    current_call_id.set(call_id)
    return call_id


def peer_address(context: "grpc.aio.ServicerContext[Any, Any]") -> str:
    """Returns the peer's host without its port; "" for a Unix socket."""
    return _host_of(context.peer())


@lru_cache(maxsize=4096)
def _host_of(peer: str) -> str:
    family, _, rest = unquote(peer).partition(":")  # ipv4:127.0.0.1:5000, ipv6:[::1]:5000, unix:...
    if family not in ("ipv4", "ipv6"):
        return ""
    return rest.rpartition(":")[0].strip("[]")
