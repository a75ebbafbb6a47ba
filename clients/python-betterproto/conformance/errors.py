"""How a refused call looks with grpclib."""

from typing import Any

import grpclib
from google.rpc import error_details_pb2
from session import Refused

DOMAIN = "parley.v1"


def describe_refused(refused: Refused) -> dict[str, Any]:
    """Gives the ERROR of a session."""
    reason = {"reason": refused.reason} if refused.reason else {}
    return {"code": refused.code.name, "message": refused.message, "log": str(refused), **reason}


def describe(error: BaseException) -> dict[str, Any]:
    """Gives ERROR: code, message, and what the status details say.

    Only what the server answered is a GRPCError; a connection that fails is an OSError, one that breaks a
    StreamTerminatedError, and a deadline a TimeoutError.
    """
    answer: dict[str, Any] = {"message": "", "log": repr(error)}
    if isinstance(error, grpclib.GRPCError):
        answer |= {"code": error.status.name, "message": error.message or ""}
        for detail in error.details or ():
            answer |= _detail(detail)
        return answer
    if isinstance(error, TimeoutError):
        return answer | {"code": "DEADLINE_EXCEEDED"}
    if isinstance(error, (OSError, grpclib.exceptions.StreamTerminatedError)):
        return answer | {"code": "UNAVAILABLE"}
    raise error


def cancelled() -> dict[str, Any]:
    """What was cancelled by us."""
    return {"code": "CANCELLED", "message": "", "log": "CancelledError()"}


def _detail(detail: Any) -> dict[str, Any]:
    if isinstance(detail, error_details_pb2.ErrorInfo) and detail.domain == DOMAIN:
        return {"reason": detail.reason, "metadata": dict(detail.metadata)}
    if isinstance(detail, error_details_pb2.BadRequest):
        return {"fields": [violation.field for violation in detail.field_violations]}
    if isinstance(detail, error_details_pb2.RetryInfo):
        return {"retry_delay_ms": detail.retry_delay.ToMilliseconds()}
    return {}
