"""Refusals become statuses with details; whatever else is raised becomes INTERNAL with an incident id.

This module alone aborts calls. The text of an exception never leaves the server: grpc.aio would send it to the caller.
"""

import asyncio
import secrets
from typing import NoReturn

import structlog

from service.convert.status import code_of, to_status
from service.domain import errors
from service.rpc.telemetry import CallCounts
from service.rpc.transport import Transport
from storage.errors import Unavailable

_log = structlog.get_logger(__name__)


def to_refusal(error: BaseException) -> errors.ParleyError:
    """Returns what a caller is told of an exception; an unforeseen one goes to the log with its incident id."""
    if isinstance(error, errors.ParleyError):
        return error
    if isinstance(error, Unavailable):
        _log.warning("database unavailable", error=str(error))
        return errors.DatabaseUnavailable()
    incident_id = secrets.token_hex(6)
    _log.error("unforeseen", incident=incident_id, exc_info=error)
    return errors.Internal(incident_id)


async def abort_with(
    transport: Transport, error: BaseException, method: str, counts: CallCounts, begin_seconds: float
) -> NoReturn:
    """Ends a call with what its caller may know of an exception; a cancellation passes as it is.

    Args:
        begin_seconds: when the call began, on the monotonic clock.
    """
    if isinstance(error, asyncio.CancelledError):
        counts.note_end(method, "CANCELLED", begin_seconds)
        raise error
    refusal = to_refusal(error)
    counts.errors.note(method, refusal.reason)
    counts.note_end(method, code_of(refusal).name, begin_seconds)
    await transport.abort(to_status(refusal))
