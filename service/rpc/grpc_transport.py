"""gRPC's side of the seam: a call of grpc.aio as a `Transport`."""

import asyncio
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc
from google.rpc import status_pb2

from service.rpc.transport import Metadata

CALL_ID_KEY = "x-call-id"
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcTransport:
    """A call of grpc.aio; `read`, `write` and `time_remaining` are gRPC's own."""

    __slots__ = ("_context", "_trailers", "metadata", "peer", "read", "time_remaining", "write")

    def __init__(self, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        self._context = context
        self._trailers: tuple[tuple[str, str], ...] = ()
        self.metadata: Metadata = context.invocation_metadata() or ()
        self.peer = _host_of(context.peer())
        self.time_remaining = context.time_remaining
        self.read = context.read
        self.write = context.write

    def name_call(self, call_id: str) -> None:
        """Has the id sent in the trailers of the call."""
        self._trailers = ((CALL_ID_KEY, call_id),)
        self._context.set_trailing_metadata(self._trailers)

    async def abort(self, status: status_pb2.Status) -> NoReturn:
        """Ends the call; the details of the status go where clients of gRPC look for them.

        Waits until the client has read what was written before. A client that goes away meanwhile can't be told.
        """
        details = ("grpc-status-details-bin", status.SerializeToString())
        try:
            await self._context.abort(_CODES[status.code], status.message, trailing_metadata=(details, *self._trailers))
        except grpc.aio.InternalError:
            raise asyncio.CancelledError from None
        raise AssertionError("abort raises")


@lru_cache(maxsize=4096)
def _host_of(peer: str) -> str:
    family, _, rest = unquote(peer).partition(":")  # ipv4:127.0.0.1:5000, ipv6:[::1]:5000, unix:...
    if family not in ("ipv4", "ipv6"):
        return ""
    return rest.rpartition(":")[0].strip("[]")
