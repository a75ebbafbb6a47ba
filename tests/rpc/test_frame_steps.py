"""What happens around a frame, without a stream: a login that ended, frames that can't be decoded, refusals."""

import pytest
from google.rpc import error_details_pb2
from parley.v1 import chat_pb2

from service.delivery.session import Session
from service.domain import errors
from service.rpc.chat.frame_steps import FrameScope, compose_frames

TAKE = compose_frames()


class Frames:
    """A stream's handler that keeps what it was given, and raises what it is told to."""

    def __init__(self) -> None:
        self.session = Session(1, "ann")
        self.scope = FrameScope(self.session, self._handle)
        self.handled: list[int] = []
        self.error: Exception | None = None

    async def _handle(self, frame: chat_pb2.ChatRequest) -> None:
        self.handled.append(frame.correlation_id)
        if self.error is not None:
            raise self.error

    async def take(self, correlation_id: int) -> None:
        await TAKE(self.scope, chat_pb2.ChatRequest(correlation_id=correlation_id).SerializeToString())

    def refusals(self) -> list[tuple[int, str]]:
        """(correlation id, reason) of what the client was told since the last look."""
        found = []
        for error in chat_pb2.ChatResponse.FromString(self.session.outbox.take_frame()).errors:
            info = error_details_pb2.ErrorInfo()
            assert any(detail.Unpack(info) for detail in error.error.details)
            found.append((error.correlation_id, info.reason))
        return found


async def test_nothing_of_a_login_that_has_ended_takes_effect() -> None:
    frames = Frames()
    await frames.take(1)
    frames.session.state.end(errors.TokenExpired())
    for data in (b"\xff", chat_pb2.ChatRequest(correlation_id=2).SerializeToString()):
        with pytest.raises(errors.TokenExpired):
            await TAKE(frames.scope, data)
    assert frames.handled == [1]
    assert frames.refusals() == [], "the end of the stream says it"


async def test_refusal_has_the_id_of_its_own_frame() -> None:
    frames = Frames()
    frames.error = errors.UnknownPayload()
    await frames.take(7)
    await TAKE(frames.scope, b"\xff")
    frames.error = RuntimeError("nobody thought of it")
    await frames.take(8)
    frames.error = None
    await frames.take(9)
    assert frames.refusals() == [(7, "UNKNOWN_PAYLOAD"), (0, "INVALID_REQUEST"), (8, "INTERNAL")]
    assert frames.handled == [7, 8, 9]
