"""What happens around each frame that a client sends on a stream, as a list; the frames' handlers are in `frames.py`.

From step to step goes (stream, data), from `decode` on (stream, frame).
"""

from collections.abc import Awaitable, Callable
from typing import Any

from parley.v1 import chat_pb2

from service.delivery.session import Session
from service.rpc import steps
from service.rpc.chain import Link, Step, compose
from service.rpc.refusals import to_refusal

# The steps of the call that have run before any frame is read; `pipeline.py` has their list.
STEPS_OF_THE_CALL = ("answer", "name", "authenticate")


class FrameScope:
    """What the steps know of the stream that a frame comes on.

    Attributes:
        handle: the handler of decoded frames.
        correlation_id: of the frame that is being handled; 0 until it is decoded.
    """

    __slots__ = ("correlation_id", "handle", "session")

    def __init__(self, session: Session, handle: Callable[[chat_pb2.ChatRequest], Awaitable[None]]) -> None:
        self.session = session
        self.handle = handle
        self.correlation_id = 0


TakeFrame = Callable[[FrameScope, bytes], Awaitable[None]]


def frame_steps() -> list[Step]:
    """Returns the steps of a frame, in order."""
    return [
        Step("login", ("authenticate",), _look_at_login),
        Step("refuse", ("login",), _refuse),
        Step("decode frame", ("refuse",), _decode),
        Step("handle frame", ("login", "decode frame"), _handle),
    ]


def compose_frames() -> TakeFrame:
    """Makes the function that takes a frame.

    Raises:
        OutOfPlace: the list above is in an order that its steps do not allow.
    """
    return compose(frame_steps(), done=STEPS_OF_THE_CALL)


def _look_at_login(rest: Link) -> Link:
    """Ends the reading where the login has ended: nothing takes effect then, even while the stream can't be closed."""

    def run(stream: FrameScope, data: bytes) -> Any:
        if (reason := stream.session.state.reason) is not None:
            raise reason
        return rest(stream, data)

    return run


def _refuse(rest: Link) -> Link:
    """Answers a frame with what refuses it; the stream goes on."""

    async def run(stream: FrameScope, data: bytes) -> None:
        try:
            await rest(stream, data)
        except Exception as error:  # noqa: BLE001 # told to the client by to_refusal, and logged if unforeseen
            stream.session.outbox.put_error(stream.correlation_id, to_refusal(error))

    return run


def _decode(rest: Link) -> Link:
    def run(stream: FrameScope, data: bytes) -> Any:
        stream.correlation_id = 0
        frame = steps.to_message(chat_pb2.ChatRequest, data, "frame")
        stream.correlation_id = frame.correlation_id
        return rest(stream, frame)

    return run


def _handle(_rest: Link) -> Link:
    def run(stream: FrameScope, frame: chat_pb2.ChatRequest) -> Awaitable[None]:
        return stream.handle(frame)

    return run
