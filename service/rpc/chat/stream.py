"""Chat and Subscribe. A stream is two loops: one reads frames, one writes what its session has.

The write loop is the handler itself. It has one write in flight and joins everything that waits into the next. The read
loop is its task; it stops reading while too much is unanswered. `frames.py` says what each frame does.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
from parley.v1 import chat_pb2

from service.convert import responses
from service.delivery.replay import Replayer
from service.delivery.session import Session
from service.delivery.stream_state import CANCELLED, PhaseEvent
from service.delivery.streams import OpenStream, Streams
from service.domain import errors
from service.domain.call import Call
from service.domain.limits import HELLO_SECONDS
from service.metrics.histogram import MESSAGES, Histogram
from service.rpc.chat.frame_steps import FrameScope, TakeFrame, compose_frames
from service.rpc.chat.frames import FrameHandlers
from service.rpc.chat.parts import ChatParts
from service.rpc.chat.wake_event import WakeEvent
from service.rpc.telemetry import ErrorCounts
from service.rpc.transport import Transport
from storage.errors import Unavailable
from storage.records import AckMode

_log = structlog.get_logger(__name__)

# What ends reading and what cancels the handler come from one event of the transport, in any order.
_BREAK_OFF_SECONDS = 0.05
# Between attempts to store what was acknowledged, while the database is away.
_RETRY_SECONDS = 0.25


class FrameCounts:
    """The frames that were written to all streams.

    Attributes:
        messages: how many a frame has, of those that have some.
    """

    def __init__(self) -> None:
        self.frame_count = 0
        self.frame_bytes = 0
        self.messages = Histogram(MESSAGES)

    def note(self, size_bytes: int, message_count: int) -> None:
        """Notes a frame."""
        self.frame_count += 1
        self.frame_bytes += size_bytes
        if message_count:
            self.messages.observe(message_count)


class ChatHandlers:
    """The calls that open sessions.

    Args:
        errors: counts what is refused on streams.
        pause: waits so many seconds.
    """

    def __init__(
        self,
        parts: ChatParts,
        replayer: Replayer,
        streams: Streams,
        *,
        counts: FrameCounts,
        errors: ErrorCounts,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._pause = pause
        self._counts = counts
        self._errors = errors
        self._parts = parts
        self._replayer = replayer
        self._streams = streams
        self._take = compose_frames()

    async def chat(self, _requests: object, transport: Transport, call: Call) -> None:
        """Serves a session with frames from the client."""
        await self._serve(self._stream(transport, call, "Chat"))

    async def subscribe(self, request: chat_pb2.SubscribeRequest, transport: Transport, call: Call) -> None:
        """Serves a session that only receives."""
        for name in ("window_messages", "window_bytes"):
            if getattr(request.hello, name):
                raise errors.InvalidRequest(f"hello.{name}", "needs the frames of Chat, by which a window opens again")
        await self._serve(self._stream(transport, call, "Subscribe", request.hello))

    def _stream(
        self, transport: Transport, call: Call, method: str, hello: chat_pb2.Hello | None = None
    ) -> "_ChatStream":
        """Makes the stream of a call; `hello` when it came with the call."""
        on_error = partial(self._errors.note, method)
        return _ChatStream(self._parts, self._replayer, transport, call, self._counts, self._take, hello, on_error)

    async def _serve(self, stream: "_ChatStream") -> None:
        is_clean = False
        with self._streams.register(stream.open_stream):
            try:
                await stream.run()
                await self._be_sure_of_half_close(stream.open_stream.session)
                is_clean = True
            except errors.ParleyError:
                is_clean = True
                raise
            except asyncio.CancelledError:
                stream.raise_reason_of_cancel()
                raise
            finally:
                # The handler may be cancelled; what others must learn of the end is finished all the same.
                ending = self._close(stream.open_stream.session, is_clean=is_clean)
                await asyncio.shield(asyncio.create_task(ending))

    async def _be_sure_of_half_close(self, session: Session) -> None:
        """Waits, where it matters: a stream that breaks off looks half-closed for a moment, until it is cancelled."""
        if session.mode.ack_mode is AckMode.MANUAL:
            await self._pause(_BREAK_OFF_SECONDS)

    async def _close(self, session: Session, *, is_clean: bool) -> None:
        """Takes a session out of everything.

        Args:
            is_clean: it ended by the client's half-close or by the server, and did not break off.
        """
        self._parts.hub.detach(session)
        self._parts.receipts.leave(session)
        self._parts.manual.close_stream(session, is_clean=is_clean)
        self._parts.modes.forget(session)
        await self._replayer.drop(session)
        await self._parts.presence.depart(session)


class _ChatStream:
    """One stream: its loops and what they share."""

    def __init__(
        self,
        parts: ChatParts,
        replayer: Replayer,
        transport: Transport,
        call: Call,
        counts: FrameCounts,
        take: TakeFrame,
        hello: chat_pb2.Hello | None,
        on_error: Callable[[str], None],
    ) -> None:
        self._parts = parts
        self._counts = counts
        self._replayer = replayer
        self._transport = transport
        self._hello = hello
        self._wake = WakeEvent()
        self._turned = WakeEvent()  # the write loop came round: the read loop may look whether it may go on
        self._write_time = 0.0  # of the last frame, on the event loop's clock
        self._silence_timer: asyncio.TimerHandle | None = None
        session_id = secrets.randbits(63) | 1
        session = Session(session_id, call.caller.username, wake=self._wake.ring, on_error=on_error)
        self.open_stream = OpenStream(session, call.caller)
        self._session = session
        self._frames = FrameHandlers(parts, self.open_stream)
        self._take = take
        self._scope = FrameScope(session, self._frames.handle)

    async def run(self) -> None:
        """Serves the stream to its end.

        Raises:
            ParleyError: why it ends, if not by the client's half-close.
        """
        self.open_stream.serve_by(asyncio.current_task())
        reader = asyncio.create_task(self._read_all() if self._hello is None else self._subscribe(self._hello))
        reader.add_done_callback(lambda _: self._wake.ring())
        try:
            await self._write_all(reader)
        finally:
            if self._silence_timer is not None:
                self._silence_timer.cancel()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    def raise_reason_of_cancel(self) -> None:
        """Raises why the stream ends, when it was cancelled for that (`OpenStream.hasten`) and not by gRPC.

        gRPC tells the client nothing of a handler that was cancelled: the call would stay open for ever.
        """
        state, task = self._session.state, asyncio.current_task()
        if state.course is CANCELLED and state.reason is not None and task is not None:
            task.uncancel()
            raise state.reason

    async def _subscribe(self, hello: chat_pb2.Hello) -> None:
        await self._frames.open(hello, 0)

    async def _read_all(self) -> None:
        """Reads frames until the client's half-close; a refused frame is answered, and the stream goes on."""
        state = self._session.state
        deadline = asyncio.get_running_loop().time() + HELLO_SECONDS
        while True:
            if not state.phase.takes_hello:
                data = await self._read()
            else:
                async with asyncio.timeout_at(deadline):
                    data = await self._read()
            if isinstance(data, bytes):
                await self._take(self._scope, data)
                continue
            if state.course.takes_requests:
                state.note(PhaseEvent.HALF_CLOSE)
                await self._finish()
            return

    async def _read(self) -> object:
        """Reads the bytes of a frame, or the half-close, when there is room for what the frame may bring."""
        if not self._session.outbox.may_read:
            await self._wait_until(lambda: self._session.outbox.may_read)
        return await self._transport.read()

    async def _finish(self) -> None:
        """After the half-close: waits until all is answered, and until what the stream stored has come to it.

        There is no limit of time: what is missing was committed, so it comes as soon as the database can be read.
        """
        session = self._session
        await self._wait_until(lambda: not session.outbox.unanswered_count)
        await self._store_acks()
        await self._parts.subscriptions.attach_own(session)
        await self._wait_until(lambda: not self._parts.hub.has_pending_own(session))
        session.state.note(PhaseEvent.ALL_ANSWERED)

    async def _store_acks(self) -> None:
        """Waits until what the client acknowledged is stored: it is not to come again to the device's next stream."""
        while True:
            try:
                await self._parts.acks.settle(self._session.username, self._session.device_id)
            except Unavailable as error:
                _log.warning("acks of a half-closed stream wait", username=self._session.username, error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits for something that wakes the write loop when it comes about."""
        while not condition():
            self._turned.clear()
            await self._turned.wait()

    async def _write_all(self, reader: "asyncio.Task[None]") -> None:
        session, outbox, state = self._session, self._session.outbox, self._session.state
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            if state.reason is not None:
                raise state.reason
            self._replayer.schedule(session)  # what was written, or dealt with by the client, makes room
            frame = outbox.take_frame() if state.phase.is_written else b""
            if frame:
                self._counts.note(len(frame), outbox.taken_count)
                await self._transport.write(frame)
                self._write_time = loop.time()
                self._turned.ring()
                self._frames.go_on()
                continue
            self._turned.ring()
            if reader.done():
                self._check_reader(reader)
            if state.course.ends_when_answered and not outbox.unanswered_count:
                raise errors.ShuttingDown
            if state.phase.may_finish and session.is_settled:
                return
            self._watch_silence()
            await self._wake.wait()

    def _watch_silence(self) -> None:
        """Starts the heartbeats, if the stream has any: one timer a stream, not one a wait."""
        if self._silence_timer is None and (seconds := self._frames.heartbeat_seconds) is not None:
            self._silence_timer = asyncio.get_running_loop().call_at(self._write_time + seconds, self._end_silence)

    def _end_silence(self) -> None:
        """Has a heartbeat written if nothing was for long enough."""
        self._silence_timer = None
        seconds = self._frames.heartbeat_seconds
        if seconds is not None and asyncio.get_running_loop().time() >= self._write_time + seconds:
            self._session.outbox.put(responses.heartbeat())  # its write begins the next silence
        else:
            self._watch_silence()

    def _check_reader(self, reader: "asyncio.Task[None]") -> None:
        """Ends the stream for what ended its reader, other than the client's half-close or a subscription's hello."""
        error = reader.exception()
        if isinstance(error, TimeoutError):
            raise errors.OutOfOrder(f"No `hello` came within {HELLO_SECONDS:.0f} s.")
        if error is not None:
            raise error
