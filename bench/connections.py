"""Connections to the server under test, and what its refusals say."""

import ipaddress
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from parley.v1 import chat_pb2, chat_service_pb2_grpc

CHAT = "/parley.v1.ChatService/Chat"
STREAMS_A_CONNECTION = 80
"""A server allows 100 on one."""

_LARGEST_FRAME_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is.

    Attributes:
        target: host:port.
        is_tls: whether it speaks TLS.
        ca: PEM certificates to trust instead of the system's; None: the system's.
        server_name: that the certificate must have; empty: the target's host.
    """

    target: str
    is_tls: bool = False
    ca: bytes | None = None
    server_name: str = ""

    def open(self) -> aio.Channel:
        """Opens a connection of its own, shared with no other channel."""
        options: list[tuple[str, Any]] = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", _LARGEST_FRAME_BYTES),
        ]
        if is_loopback(self.target):
            options.append(("grpc.enable_http_proxy", 0))  # a proxy's own loopback is another one
        if self.server_name:
            options.append(("grpc.ssl_target_name_override", self.server_name))
        if self.is_tls:
            return aio.secure_channel(self.target, grpc.ssl_channel_credentials(self.ca), options=options)
        return aio.insecure_channel(self.target, options=options)


def is_loopback(target: str) -> bool:
    """Returns whether host:port is on this machine."""
    host = target.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def stub_of(channel: aio.Channel) -> "chat_service_pb2_grpc.ChatServiceAsyncStub":
    """The generated stub on a connection."""
    return chat_service_pb2_grpc.ChatServiceStub(channel)


def to_metadata(token: str) -> tuple[tuple[str, str], ...]:
    """What each call carries."""
    return (("authorization", f"Bearer {token}"),)


class Connections:
    """Connections that streams share, a few each; closed together."""

    def __init__(self, address: Address, streams_each: int = 1) -> None:
        self._address = address
        self._streams_each = min(streams_each, STREAMS_A_CONNECTION)
        self._channels: list[aio.Channel] = []
        self._used = 0

    def next(self) -> aio.Channel:
        """The connection for the next stream."""
        if self._used % self._streams_each == 0:
            self._channels.append(self._address.open())
        self._used += 1
        return self._channels[-1]

    async def close(self) -> None:
        """Hangs up."""
        for channel in self._channels:
            await channel.close()


def begin_chat(channel: aio.Channel, token: str) -> Any:
    """Begins a Chat stream whose requests are `ChatRequest` or their bytes, and whose responses are bytes.

    Readers of many streams know frames that they have seen by their bytes and need not decode them again.
    """
    method: Any = channel.stream_stream(CHAT, request_serializer=_to_bytes, response_deserializer=None)
    return method(metadata=to_metadata(token))


def reason_of_status(status: status_pb2.Status) -> str:
    """The ErrorInfo's reason; the status code's name where there is none."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return str(info.reason)
    for code in grpc.StatusCode:
        if code.value[0] == status.code:
            return code.name
    return str(status.code)


def delay_of_status(status: status_pb2.Status) -> float:
    """How many seconds the server asks to wait before trying again; 0 if it does not."""
    info = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return to_seconds(info.retry_delay)
    return 0.0


def status_of(error: aio.AioRpcError) -> status_pb2.Status:
    """What a failed call carries as details; only the code where there are none."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status(code=error.code().value[0], message=error.details() or "")


def in_words(error: aio.AioRpcError) -> str:
    """A failed call in one line."""
    reason = reason_of_status(status_of(error))
    text = " ".join((error.details() or "no details").split())
    return f"{reason}: {text[:300]}"


def to_seconds(duration: duration_pb2.Duration) -> float:
    """A Duration as seconds."""
    return duration.seconds + duration.nanos / 1e9


def _to_bytes(request: chat_pb2.ChatRequest | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()
