"""Names each call, so that every line of the log says which call it is about, and counts calls and refusals."""

import logging
import os
import re
import time
from collections import Counter
from collections.abc import Iterable

import structlog

from service.logs import current_call_id, current_trace_id
from service.metrics.histogram import SECONDS, Histogram

_log = structlog.get_logger(__name__)
# A line that is not to be written costs structlog a tenth of a unary call: this asks before there is one.
_level = logging.getLogger(__name__)

# https://www.w3.org/TR/trace-context/#traceparent-header: version, trace id, parent id, flags; later versions may add.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


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
        by_method_and_code: calls and streams that ended, by the status code that the caller was sent; CANCELLED where
            the caller went away first.
    """

    def __init__(self, unary_methods: Iterable[str]) -> None:
        self.seconds = {method: Histogram(SECONDS) for method in unary_methods}
        self.errors = ErrorCounts()
        self.by_method_and_code: Counter[tuple[str, str]] = Counter()

    def note_end(self, method: str, code: str, begin_seconds: float) -> None:
        """Counts the end of a call, and writes it to the log at the level debug.

        Args:
            code: the name of a gRPC status code.
            begin_seconds: when it began, on the monotonic clock.
        """
        self.by_method_and_code[method, code] += 1
        if _level.isEnabledFor(logging.DEBUG):
            milliseconds = round((time.monotonic() - begin_seconds) * 1000, 1)
            _log.debug("call", method=method, code=code, milliseconds=milliseconds)


def begin_call(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """Makes the call's id and sets it for this task and those that it starts, with the caller's trace id."""
    call_id = os.urandom(6).hex()
    current_call_id.set(call_id)
    trace_id = next((_trace_id_of(value) for key, value in metadata or () if key == "traceparent"), "")
    if trace_id or current_trace_id.get():
        current_trace_id.set(trace_id)
    return call_id


def _trace_id_of(value: str | bytes) -> str:
    """Returns the trace id of a `traceparent` (W3C Trace Context); "" for what is none."""
    found = _TRACEPARENT.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found is not None and found[1].strip("0") else ""
