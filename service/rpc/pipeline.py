"""What happens around every call, as lists to read; each list becomes one function at start (`chain.py`).

The list for the frames of a stream is in `chat/frame_steps.py`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from service.rpc import steps
from service.rpc.authentication import Authenticator
from service.rpc.chain import Step, compose
from service.rpc.in_flight import InFlight
from service.rpc.method_kinds import Stream, Unary
from service.rpc.telemetry import CallCounts
from service.rpc.transport import Transport

Serve = Callable[[Any, Any], Awaitable[Any]]
"""Serves one call: takes (data, what the front hands in with it), returns the bytes of a unary response."""


@dataclass(frozen=True, slots=True)
class Around:
    """What the steps around methods work with; one for a worker.

    Attributes:
        to_transport: makes a transport of what the front hands in with each call.
    """

    to_transport: Callable[[Any], Transport]
    authenticator: Authenticator
    in_flight: InFlight
    counts: CallCounts


def unary_steps(name: str, method: Unary, around: Around) -> list[Step]:
    """Returns the steps of a unary method, in order."""
    return [
        steps.answer(name, around.counts, around.to_transport),
        steps.name(),
        steps.authenticate(around.authenticator) if method.needs_token else steps.let_anyone_in(),
        steps.limit(around.in_flight),
        steps.decode(method.request_type),
        steps.handle(method),
        steps.encode(),
    ]


def stream_steps(name: str, method: Stream, around: Around) -> list[Step]:
    """Returns the steps of a streaming method, in order; open streams are limited where they are registered."""
    return [
        steps.answer(name, around.counts, around.to_transport),
        steps.name(),
        steps.authenticate(around.authenticator),
        *([] if method.request_type is None else [steps.decode(method.request_type)]),
        steps.stream(method),
    ]


def compose_methods(methods: Mapping[str, Unary | Stream], around: Around) -> dict[str, Serve]:
    """Makes the function that serves each method, by name.

    Raises:
        OutOfPlace: a list above is in an order that its steps do not allow.
    """
    return {
        name: compose(
            unary_steps(name, method, around) if isinstance(method, Unary) else stream_steps(name, method, around)
        )
        for name, method in methods.items()
    }
