"""Methods become gRPC handlers here: decode, authenticate, count, call, encode, and refuse in one way.

Requests and responses pass gRPC as bytes: a request that can't be decoded gets a clear refusal, and streams write bytes
that are encoded once for all readers. Generic handlers are registered, not methods one by one: that costs less a call
(docs/adr/0004-generic-handlers.md).
"""

import asyncio
import time
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from parley.v1 import chat_service_pb2

from service.domain.call import Call
from service.domain.errors import InvalidRequest
from service.rpc.authentication import Authenticator
from service.rpc.grpc_transport import GrpcTransport
from service.rpc.in_flight import InFlight
from service.rpc.method_kinds import Stream, Unary
from service.rpc.refusals import abort_with
from service.rpc.telemetry import CallCounts, begin_call
from service.rpc.transport import Transport

SERVICE: str = chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"].full_name

Context = grpc.aio.ServicerContext[Any, Any]


def decode(request_type: type[Message], data: bytes, field: str = "request") -> Message:
    """Decodes a request.

    Raises:
        InvalidRequest: the bytes are no such message, or a string in it is not UTF-8.
    """
    try:
        return request_type.FromString(data)
    except DecodeError:
        raise InvalidRequest(field, f"can't be decoded as {request_type.DESCRIPTOR.full_name}") from None


def to_generic_handler(
    methods: dict[str, Unary | Stream], authenticator: Authenticator, in_flight: InFlight, counts: CallCounts
) -> grpc.GenericRpcHandler:
    """Builds the service's handler from its methods, by name."""
    handlers: dict[str, Any] = {}
    for name, method in methods.items():
        if isinstance(method, Unary):
            handlers[name] = grpc.unary_unary_rpc_method_handler(
                _to_unary(name, method, authenticator, in_flight, counts)
            )
        elif method.request_type is not None:
            handlers[name] = grpc.unary_stream_rpc_method_handler(_to_subscription(name, method, authenticator, counts))
        else:
            handlers[name] = grpc.stream_stream_rpc_method_handler(_to_stream(name, method, authenticator, counts))
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


def _to_unary(name: str, method: Unary, authenticator: Authenticator, in_flight: InFlight, counts: CallCounts) -> Any:
    observe_seconds = counts.seconds[name].observe

    async def call_unary(data: bytes, context: Context) -> bytes:
        begin = time.monotonic()
        transport = GrpcTransport(context)
        try:
            call = _begin(transport, authenticator, needs_token=method.needs_token)
            with in_flight:
                if in_flight.is_held:
                    await in_flight.wait()
                response = await method.handle(decode(method.request_type, data), call)
            answer = response if isinstance(response, bytes) else response.SerializeToString()
            counts.note_end(name, "OK", begin)
            return answer
        except BaseException as error:  # noqa: BLE001 # abort_with lets cancellations and aborts pass
            await abort_with(transport, error, name, counts, begin)
        finally:
            observe_seconds(time.monotonic() - begin)

    return call_unary


def _to_stream(name: str, method: Stream, authenticator: Authenticator, counts: CallCounts) -> Any:
    async def call_stream(_requests: object, context: Context) -> None:
        begin = time.monotonic()
        transport = GrpcTransport(context)
        try:
            await method.handle(None, transport, _begin(transport, authenticator, needs_token=True))
            counts.note_end(name, "OK", begin)
        except BaseException as error:  # noqa: BLE001 # as above
            await abort_with(transport, error, name, counts, begin)

    return call_stream


def _to_subscription(name: str, method: Stream, authenticator: Authenticator, counts: CallCounts) -> Any:
    assert method.request_type is not None
    request_type = method.request_type

    async def call_subscription(data: bytes, context: Context) -> None:
        begin = time.monotonic()
        transport = GrpcTransport(context)
        try:
            call = _begin(transport, authenticator, needs_token=True)
            await method.handle(decode(request_type, data), transport, call)
            counts.note_end(name, "OK", begin)
        except BaseException as error:  # noqa: BLE001 # as above
            await abort_with(transport, error, name, counts, begin)

    return call_subscription


def _begin(transport: Transport, authenticator: Authenticator, *, needs_token: bool) -> Call:
    call_id = begin_call(transport.metadata)
    transport.name_call(call_id)
    remaining = transport.time_remaining()
    return Call(
        call_id=call_id,
        address=transport.peer,
        deadline=None if remaining is None else asyncio.get_running_loop().time() + remaining,
        principal=authenticator.principal_of(transport.metadata) if needs_token else None,
    )
