"""Refusals become statuses with details; whatever else is raised becomes INTERNAL with an incident id.

This alone aborts calls. An exception's own text never leaves the server: grpc.aio would send it to the caller.
"""

import asyncio
import secrets
from typing import Any, NoReturn

import grpc
import structlog
from google.rpc import status_pb2

from service.convert.status import code_of, to_status
from service.domain import errors
from service.logs import current_call_id
from service.rpc.telemetry import CallCounts, call_metadata
from storage.errors import Unavailable

_log = structlog.get_logger(__name__)
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def to_refusal(error: BaseException) -> errors.ParleyError:
    """Says what a caller is told of an exception; what nobody foresaw goes to the log with its incident id."""
    if isinstance(error, errors.ParleyError):
        return error
    if isinstance(error, Unavailable):
        _log.warning("database unavailable", error=str(error))
        return errors.DatabaseUnavailable()
    incident_id = secrets.token_hex(6)
    _log.error("unforeseen", incident=incident_id, exc_info=error)
    return errors.Internal(incident_id)


async def abort(context: "grpc.aio.ServicerContext[Any, Any]", refusal: errors.ParleyError) -> NoReturn:
    """Ends a call with a refusal and its details."""
    status: status_pb2.Status = to_status(refusal)
    await context.abort(
        _CODES[status.code],
        status.message,
        trailing_metadata=(
            ("grpc-status-details-bin", status.SerializeToString()),
            *call_metadata(current_call_id.get()),
        ),
    )
    raise AssertionError("abort raises")


async def abort_with(
    context: "grpc.aio.ServicerContext[Any, Any]",
    error: BaseException,
    method: str,
    counts: CallCounts,
    begin_seconds: float,
) -> NoReturn:
    """Ends a call with what its caller may know of an exception; cancellations and aborts pass as they are.

    Args:
        begin_seconds: when the call began, on the monotonic clock.
    """
    if isinstance(error, (asyncio.CancelledError, grpc.aio.AbortError)):
        counts.note_end(method, grpc.StatusCode.CANCELLED.name, begin_seconds)
        raise error
    refusal = to_refusal(error)
    counts.errors.note(method, refusal.reason)
    counts.note_end(method, code_of(refusal).name, begin_seconds)
    await abort(context, refusal)
