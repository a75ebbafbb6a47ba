"""The two kinds of methods, as rows of the table in `methods.py`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from service.domain.call import Call
from service.rpc.transport import Transport


@dataclass(frozen=True, slots=True)
class Unary:
    """A unary method.

    Attributes:
        handle: returns the response, or the bytes of the response.
        needs_token: False for the few methods that are called before there is a token.
    """

    request_type: type[Message]
    handle: Callable[[Any, Call], Awaitable[Message | bytes]]
    needs_token: bool = True


@dataclass(frozen=True, slots=True)
class Stream:
    """A streaming method; a stream always needs a token.

    Attributes:
        request_type: the type of the single request; None when the client streams, and then the handler reads frames.
    """

    request_type: type[Message] | None
    handle: Callable[[Any, Transport, Call], Awaitable[None]]
