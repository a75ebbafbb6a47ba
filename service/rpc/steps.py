"""The steps of calls, each made for one method. `pipeline.py` says in which order each kind of method has them.

What goes from step to step, by position:

    answer -> name, authenticate's end   (data, transport), (data, transport, call id)
    authenticate, limit -> decode        (data, transport, call)
    decode -> handle                     (request, transport, call)
    handle -> encode                     (response)

`data` is what the front hands in: the bytes of the request, or nothing of use where the client streams.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError, Message

from service.domain.call import Call, Principal
from service.domain.errors import InvalidRequest, TokenInvalid
from service.rpc.authentication import Authenticator
from service.rpc.chain import Link, Step
from service.rpc.in_flight import InFlight
from service.rpc.method_kinds import Stream, Unary
from service.rpc.refusals import abort_with
from service.rpc.telemetry import CallCounts, begin_call
from service.rpc.transport import Transport


def answer(method: str, counts: CallCounts, to_transport: Callable[[Any], Transport]) -> Step:
    """Counts the call, and ends it with a refusal where any later step raises one.

    Args:
        to_transport: makes a transport of what the front hands in with each call.
    """

    def link(rest: Link) -> Link:
        seconds = counts.seconds.get(method)

        async def run(data: object, front: object) -> Any:
            begin = time.monotonic()
            transport = to_transport(front)
            try:
                response = await rest(data, transport)
                counts.note_end(method, "OK", begin)
                return response
            except BaseException as error:  # noqa: BLE001 # abort_with lets cancellations pass
                await abort_with(transport, error, method, counts, begin)
            finally:
                if seconds is not None:
                    seconds.observe(time.monotonic() - begin)

        return run

    return Step("answer", (), link)


def name() -> Step:
    """Makes an id of the call: the log and the caller have it from here on."""

    def link(rest: Link) -> Link:
        def run(data: object, transport: Transport) -> Any:
            call_id = begin_call(transport.metadata)
            transport.name_call(call_id)
            return rest(data, transport, call_id)

        return run

    return Step("name", ("answer",), link)


def authenticate(authenticator: Authenticator) -> Step:
    """Verifies the token of the call; the call has its principal from here on."""

    def link(rest: Link) -> Link:
        principal_of = authenticator.principal_of

        def run(data: object, transport: Transport, call_id: str) -> Any:
            try:
                principal = principal_of(transport.metadata)
            except TokenInvalid as refusal:
                return run_with_new_key(data, transport, call_id, refusal)
            return rest(data, transport, _to_call(transport, call_id, principal))

        async def run_with_new_key(data: object, transport: Transport, call_id: str, refusal: TokenInvalid) -> Any:
            principal = await authenticator.principal_of_new_key(transport.metadata, refusal)
            return await rest(data, transport, _to_call(transport, call_id, principal))

        return run

    return Step("authenticate", ("name",), link)


def let_anyone_in() -> Step:
    """Stands for `authenticate` with methods that need no token: looks at none."""

    def link(rest: Link) -> Link:
        def run(data: object, transport: Transport, call_id: str) -> Any:
            return rest(data, transport, _to_call(transport, call_id, None))

        return run

    return Step("authenticate", ("name",), link)


def limit(in_flight: InFlight) -> Step:
    """Takes a place among the calls in flight for as long as the rest runs; waits while calls are held."""

    def link(rest: Link) -> Link:
        async def run(data: object, transport: Transport, call: Call) -> Any:
            with in_flight:
                if in_flight.is_held:
                    await in_flight.wait()
                return await rest(data, transport, call)

        return run

    return Step("limit", ("authenticate",), link)


def decode(request_type: type[Message]) -> Step:
    """Makes the request of its bytes."""

    def link(rest: Link) -> Link:
        def run(data: bytes, transport: Transport, call: Call) -> Any:
            return rest(to_message(request_type, data), transport, call)

        return run

    return Step("decode", ("authenticate",), link)


def handle(method: Unary) -> Step:
    """Calls the handler of a unary method."""

    def link(rest: Link) -> Link:
        handler = method.handle

        async def run(request: Message, _transport: Transport, call: Call) -> Any:
            return rest(await handler(request, call))

        return run

    return Step("handle", ("authenticate", "limit", "decode"), link)


def encode() -> Step:
    """Makes bytes of the response, unless it is bytes."""

    def link(_rest: Link) -> Link:
        def run(response: Message | bytes) -> bytes:
            return response if isinstance(response, bytes) else response.SerializeToString()

        return run

    return Step("encode", ("handle",), link)


def stream(method: Stream) -> Step:
    """Calls the handler of a stream, which reads and writes its frames itself."""

    def link(_rest: Link) -> Link:
        return method.handle

    needs = ("authenticate",) if method.request_type is None else ("authenticate", "decode")
    return Step("stream", needs, link)


def to_message(message_type: type[Message], data: bytes, field: str = "request") -> Any:
    """Decodes a request or a frame.

    Raises:
        InvalidRequest: the bytes are no such message, or a string in it is not UTF-8.
    """
    try:
        return message_type.FromString(data)
    except DecodeError:
        raise InvalidRequest(field, f"can't be decoded as {message_type.DESCRIPTOR.full_name}") from None


def _to_call(transport: Transport, call_id: str, principal: Principal | None) -> Call:
    remaining = transport.time_remaining()
    deadline = None if remaining is None else asyncio.get_running_loop().time() + remaining
    return Call(call_id, transport.peer, deadline, principal)
