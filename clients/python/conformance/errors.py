"""How a refused call looks in Python."""

from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from session import Refused

DOMAIN = "parley.v1"


def describe_refused(refused: Refused) -> dict[str, Any]:
    """Gives the ERROR of a session."""
    reason = {"reason": refused.reason} if refused.reason else {}
    return {"code": refused.code.name, "message": refused.message, "log": str(refused), **reason}


def describe(error: grpc.RpcError) -> dict[str, Any]:
    """Gives ERROR: code, message, and what the status details say."""
    answer: dict[str, Any] = {"code": error.code().name, "message": error.details() or "", "log": str(error)}
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        info, request, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        if detail.Unpack(info) and info.domain == DOMAIN:
            answer |= {"reason": info.reason, "metadata": dict(info.metadata)}
        elif detail.Unpack(request):
            answer["fields"] = [violation.field for violation in request.field_violations]
        elif detail.Unpack(retry):
            answer["retry_delay_ms"] = retry.retry_delay.ToMilliseconds()
    return answer
