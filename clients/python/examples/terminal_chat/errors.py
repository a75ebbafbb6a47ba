"""What the server refused: for the program to decide by, and in words for a person."""

from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from terminal_chat.text import to_safe_line

_DETAILS_KEY = "grpc-status-details-bin"
_DOMAIN = "parley.v1"
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_TRANSPORT = (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)


class LeaveChat(Exception):
    """Ends the program with a line that says why."""


class NoSuchLogin(LeaveChat):
    """There is no account with this name and password; a new one may be made."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call, a frame or a stream ended.

    Attributes:
        reason: the ErrorInfo's, such as BAD_CREDENTIALS; "" when it does not come from Parley.
        message: one line that can be shown.
        retry_seconds: the RetryInfo's; None when there is none.
        conversation_id: which one it is about; "" when none is named.
    """

    code: grpc.StatusCode
    reason: str = ""
    message: str = ""
    retry_seconds: float | None = None
    conversation_id: str = ""

    @property
    def is_passing(self) -> bool:
        """Whether the same request may succeed later, unchanged."""
        if self.retry_seconds is not None or self.reason == "DEADLINE_PASSED":
            return True
        # Without a reason it is the transport's: nobody knows whether the request got through.
        return not self.reason and self.code in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            *_TRANSPORT,
        )


def from_status(status: status_pb2.Status) -> Refusal:
    """Reads the error of a result or of a refused frame."""
    reason, conversation_id, retry_seconds = "", "", None
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(info) and info.domain == _DOMAIN:
            reason, conversation_id = info.reason, info.metadata["conversation_id"]
        elif detail.Unpack(retry):
            retry_seconds = retry.retry_delay.ToMicroseconds() / 1e6
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return Refusal(code, reason, to_safe_line(status.message), retry_seconds, conversation_id)


def to_refusal(error: aio.AioRpcError) -> Refusal:
    """Reads the end of a call."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            return from_status(status_pb2.Status.FromString(value))
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        details = error.details() or ""
        if "CERTIFICATE_VERIFY_FAILED" in details or "Hostname Verification" in details or "Peer name" in details:
            return Refusal(error.code(), message="the server's certificate is not trusted (--ca, --server-name)")
        return Refusal(error.code(), message="the server can't be reached")
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Refusal(error.code(), message="the server did not answer in time")
    return Refusal(error.code(), message=to_safe_line(error.details() or error.code().name))


def explain(error: aio.AioRpcError) -> str:
    """Returns one line that can be shown."""
    return to_refusal(error).message
