"""What the server refused, in words for a person."""

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from terminal_chat.text import to_safe_line

_DETAILS_KEY = "grpc-status-details-bin"


class LeaveChat(Exception):
    """Ends the program with a line that says why."""


class NoSuchLogin(LeaveChat):
    """There is no account with this name and password; a new one may be made."""


def reason_of(error: aio.AioRpcError) -> str:
    """Returns the ErrorInfo's reason, such as BAD_CREDENTIALS; "" when there is none."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return str(info.reason)
    return ""


def explain(error: aio.AioRpcError) -> str:
    """Returns one line that can be shown."""
    if error.code() is grpc.StatusCode.UNAVAILABLE and not reason_of(error):
        return "the server can't be reached"
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "the server did not answer in time"
    return to_safe_line(error.details() or error.code().name)
