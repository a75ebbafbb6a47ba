"""The seam between the methods and whatever carries their calls; nothing above it knows gRPC.

`grpc_transport.py` is gRPC's side of the seam. Another front needs a class with these members and no change of a method
(docs/adr/0018-transport-and-pipeline.md).
"""

from collections.abc import Awaitable, Iterable
from typing import NoReturn, Protocol

from google.rpc import status_pb2

Metadata = Iterable[tuple[str, str | bytes]]


class Transport(Protocol):
    """One call: what its caller sent, and the way back to the caller.

    The members are attributes and plain callables, so that a transport may bind those of the object that it wraps: a
    frame then costs no call of Python more.
    """

    @property
    def metadata(self) -> Metadata:
        """The headers of the call: (key in lower case, value) pairs, in the order sent."""

    @property
    def peer(self) -> str:
        """The host of the caller, without its port; "" for a Unix socket."""

    def time_remaining(self) -> float | None:
        """Returns how many seconds the caller still waits; None: without a limit."""

    def name_call(self, call_id: str) -> None:
        """Notes the id of the call, which the caller is to get however the call ends."""

    def read(self) -> Awaitable[object]:
        """Reads the next frame of a stream; an object that is not `bytes` says that the caller half-closed."""

    def write(self, frame: bytes, /) -> Awaitable[None]:
        """Writes a frame of a stream; returns when the transport can take the next one. One write at a time."""

    async def abort(self, status: status_pb2.Status) -> NoReturn:
        """Ends the call with a status other than OK, and raises."""
