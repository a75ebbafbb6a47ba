"""The one table from an error class to what goes over the wire: status code, ErrorInfo, retry advice.

Nothing else in Parley names a gRPC status code for a refusal. `tests/convert/test_status.py` holds that every class of
`service/domain/errors.py` has a row, that the reasons are those of the contract's enum, and that docs/errors.md agrees.
"""

from dataclasses import dataclass

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from parley.v1 import error_pb2

from service.domain import errors

DOMAIN = "parley.v1"
_PREFIX = "ERROR_REASON_"


@dataclass(frozen=True, slots=True)
class Row:
    """How an error class looks outside.

    Attributes:
        code: the status code.
        is_retryable: whether the same request may succeed later, unchanged.
        retry_after_seconds: what RetryInfo says unless the error knows better; None: no RetryInfo.
    """

    code: grpc.StatusCode
    is_retryable: bool = False
    retry_after_seconds: float | None = None


_C = grpc.StatusCode

TABLE: dict[type[errors.ParleyError], Row] = {
    errors.Internal: Row(_C.INTERNAL),
    errors.InvalidRequest: Row(_C.INVALID_ARGUMENT),
    errors.MessageTooLarge: Row(_C.INVALID_ARGUMENT),
    errors.UnknownPayload: Row(_C.UNIMPLEMENTED),
    errors.OutOfOrder: Row(_C.FAILED_PRECONDITION),
    errors.DeadlinePassed: Row(_C.DEADLINE_EXCEEDED, is_retryable=True),
    errors.RateLimited: Row(_C.RESOURCE_EXHAUSTED, is_retryable=True, retry_after_seconds=1),
    errors.Overloaded: Row(_C.RESOURCE_EXHAUSTED, is_retryable=True, retry_after_seconds=0.5),
    errors.ShuttingDown: Row(_C.UNAVAILABLE, is_retryable=True, retry_after_seconds=0.5),
    errors.DatabaseUnavailable: Row(_C.UNAVAILABLE, is_retryable=True, retry_after_seconds=1),
    errors.RetryExhausted: Row(_C.UNAVAILABLE, is_retryable=True, retry_after_seconds=1),
    errors.TokenMissing: Row(_C.UNAUTHENTICATED),
    errors.TokenInvalid: Row(_C.UNAUTHENTICATED),
    errors.TokenExpired: Row(_C.UNAUTHENTICATED),
    errors.BadCredentials: Row(_C.UNAUTHENTICATED),
    errors.UsernameTaken: Row(_C.ALREADY_EXISTS),
    errors.UserNotFound: Row(_C.NOT_FOUND),
    errors.UserDisabled: Row(_C.PERMISSION_DENIED),
    errors.RegistrationClosed: Row(_C.PERMISSION_DENIED),
    errors.ScopeMissing: Row(_C.PERMISSION_DENIED),
    errors.ConversationNotFound: Row(_C.NOT_FOUND),
    errors.RoleTooLow: Row(_C.PERMISSION_DENIED),
    errors.MemberNotFound: Row(_C.NOT_FOUND),
    errors.LastOwner: Row(_C.FAILED_PRECONDITION),
    errors.DirectConversation: Row(_C.FAILED_PRECONDITION),
    errors.TooManyMembers: Row(_C.FAILED_PRECONDITION),
    errors.RequestIdReused: Row(_C.ALREADY_EXISTS),
    errors.CursorBeyondEnd: Row(_C.OUT_OF_RANGE),
    errors.ReplyNotFound: Row(_C.NOT_FOUND),
    errors.AckBeyondDelivered: Row(_C.INVALID_ARGUMENT),
    errors.TooManyDevices: Row(_C.RESOURCE_EXHAUSTED),
    errors.AckModeMismatch: Row(_C.FAILED_PRECONDITION),
    errors.DeliveryNotHeld: Row(_C.FAILED_PRECONDITION),
}


def number_of(reason: str) -> int:
    """Returns the reason's number in the contract, for example 30001 for "TOKEN_MISSING"."""
    return error_pb2.ErrorReason.Value(_PREFIX + reason)


def code_of(error: errors.ParleyError) -> grpc.StatusCode:
    """Returns the status code of a refusal."""
    return TABLE[type(error)].code


def to_status(error: errors.ParleyError) -> status_pb2.Status:
    """Turns a refusal into the status that clients see, details included."""
    row = TABLE[type(error)]
    details = [
        error_details_pb2.ErrorInfo(
            reason=error.reason,
            domain=DOMAIN,
            metadata={**error.metadata, "number": str(number_of(error.reason))},
        )
    ]
    packed = [_pack(detail) for detail in details]
    if error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=allowed)
            for field, allowed in error.violations
        ]
        packed.append(_pack(error_details_pb2.BadRequest(field_violations=violations)))
    retry_after_seconds = row.retry_after_seconds if error.retry_after_seconds is None else error.retry_after_seconds
    if retry_after_seconds is not None:
        delay = Duration()
        delay.FromNanoseconds(int(retry_after_seconds * 1e9))
        packed.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(code=row.code.value[0], message=error.message, details=packed)


def _pack(detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo) -> Any:
    packed = Any()
    packed.Pack(detail)
    return packed
