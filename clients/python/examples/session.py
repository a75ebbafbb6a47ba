"""A device's session with Parley that outlives its connections. Copy this file as it stands; it needs the stubs alone.

    session = await Session.open("127.0.0.1:50051", "alice", "a long password", device_id="laptop")
    accepted = await session.send("alice:bob", "Hello!")  # stored once, however often the connection breaks
    async for entry in session.messages():
        if isinstance(entry, message_pb2.Message):
            print(entry.seq, entry.sender, entry.text)
            session.ack(entry.conversation_id, entry.seq)

`chat.py` beside it is a whole program. docs/clients.md has the rules that are kept here, and why.
"""

import asyncio
import contextlib
import datetime
import itertools
import logging
import random
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Self

from google.protobuf import any_pb2, timestamp_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode, aio
from parley.v1 import account_pb2, chat_pb2, chat_service_pb2_grpc, message_pb2

CALL_SECONDS, ACK_SECONDS = 10.0, 1.0
OUTBOX_SENDS = 1_000  # sends without a final answer; one more is refused
WINDOW_ENTRIES = 1_000  # entries that came and are not acknowledged; the server holds back what is beyond
FRAME_BYTES = 256 * 1024 - 64
HELLO_POSITIONS, ACK_POSITIONS = 2_000, 1_000  # in a frame
QUIET_ID = 1  # the correlation_id of frames whose refusal changes nothing here
# Of calls and streams: the transport's own, by which proxies tell of a server that went, and a hello that came late.
PASSING = {StatusCode.OK, StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED}
PASSING |= {StatusCode.UNKNOWN, StatusCode.INTERNAL, StatusCode.ABORTED, StatusCode.DATA_LOSS}
PASSING |= {StatusCode.FAILED_PRECONDITION}
CODES = {code.value[0]: code for code in StatusCode}
Entry = message_pb2.Message | chat_pb2.Reset
log = logging.getLogger("parley.session")


class Refused(Exception):
    """What was refused, or how a stream ended. `reason` is "" where that does not come from Parley."""

    def __init__(self, code: StatusCode, message: str, reason: str = "", details: Iterable[any_pb2.Any] = ()) -> None:
        info, retry = error_details_pb2.ErrorInfo(reason=reason), error_details_pb2.RetryInfo()
        for detail in details:
            _ = detail.Unpack(info) or detail.Unpack(retry)
        super().__init__(f"{info.reason or code.name}: {message}")
        self.code, self.message, self.reason = code, message, info.reason
        self.conversation_id = info.metadata["conversation_id"]
        self.retry_seconds = retry.retry_delay.ToMilliseconds() / 1000 if retry.HasField("retry_delay") else None

    @classmethod
    def from_status(cls, status: status_pb2.Status) -> Self:
        """Reads the error of a result, of a frame, or of a call's trailers."""
        return cls(CODES.get(status.code, StatusCode.UNKNOWN), status.message, details=status.details)

    @classmethod
    def from_call(cls, error: aio.AioRpcError) -> Self:
        """Reads how a call or stream ended."""
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                return cls.from_status(status_pb2.Status.FromString(value))
        return cls(error.code(), error.details() or "the stream ended")

    @property
    def is_passing(self) -> bool:
        """Whether the same call, or another stream, may do better."""
        return self.retry_seconds is not None or self.code in PASSING


def pause_seconds(attempt: int, at_least_seconds: float | None = None) -> float:
    """How long to wait after so many failures; all of it random, so that not all come back together."""
    return (at_least_seconds or 0.0) + random.uniform(0, min(0.5 * 2 ** min(attempt, 5), 15))  # noqa: S311 # no secret


@dataclass(slots=True)
class Send:
    """A send without a final answer."""

    request: message_pb2.SendRequest
    answer: asyncio.Future[message_pb2.Accepted]
    is_under_way: bool = False
    due_time: float = 0.0
    attempt: int = 0


class Session:
    """One device of one login, on one stream at a time. Made by `open`; all methods belong to one event loop."""

    def __init__(self, target: str, device_id: str, tls: Any, heartbeat_seconds: float) -> None:
        self._target, self._device_id, self._tls, self._heartbeat_seconds = target, device_id, tls, heartbeat_seconds
        # What outlives a stream. Positions: the highest seq that came; those that moved last are at the end.
        self._epoch = self._attempt = 0
        self._positions: dict[str, int] = {}
        self._taken: dict[str, int] = {}  # the highest seq that the program took
        self._acks: dict[str, int] = {}
        self._outbox: dict[str, deque[Send]] = {}  # of each conversation the first alone may be under way
        self._inbox: deque[Entry] = deque()
        self._ids = itertools.count(QUIET_ID + 1)
        self._wake, self._filled = asyncio.Event(), asyncio.Event()
        self._running: asyncio.Task[None]
        self._refreshing: asyncio.Task[None]
        self._is_closing = False
        self._end: Exception | None = None
        # The login. The server's clock less time.monotonic(): known from the first welcome on.
        self._access_token, self._renewal = "", account_pb2.RefreshTokenRequest()
        self._renewing = asyncio.Lock()
        self._clock_ahead_seconds: float | None = None
        self._stale_time = float("inf")
        # What belongs to a stream.
        self._hello_id = self._stream_epoch = self._ack_count = 0
        self._is_welcomed = self._is_live = self._has_fresh_token = False
        self._leave_time: float | None = None  # when to come back after a go_away
        self._tell_time = 0.0  # of the next acks
        self._under_way: dict[int, Send] = {}
        self._untold: set[str] = set()  # conversations whose ack the server is to be told

    @classmethod
    async def open(
        cls,
        target: str,
        username: str,
        password: str,
        *,
        device_id: str,
        tls: Any = None,
        heartbeat_seconds: float = 10,
    ) -> Self:
        """Logs in, and keeps a stream open until `close`. Waits for a server that is away.

        Args:
            target: host:port.
            device_id: the same for the same device each time: acks are kept by it.
            tls: such as grpc.ssl_channel_credentials(); None: no TLS.
            heartbeat_seconds: how often the server says that it is there; silence of three times that is a break.

        Raises:
            Refused: the login, for good.
        """
        session = cls(target, device_id, tls, heartbeat_seconds)
        request = account_pb2.LoginRequest(username=username, password=password, device_id=device_id)
        session._take_tokens(await session._call("Login", request))
        session._running = asyncio.create_task(session._run())
        return session

    async def send(self, conversation_id: str, text: str = "", **content: Any) -> message_pb2.Accepted:
        """Sends a message, and returns when it is stored; calls for one conversation keep their order.

        A wait that is cancelled takes nothing back. `content` is for the other fields of SendRequest.

        Raises:
            Refused: it had no effect and never will; OUTBOX_FULL when 1,000 wait. Or the session has ended.
        """
        request = message_pb2.SendRequest(conversation_id=conversation_id, text=text, **content)
        request.request_id = request.request_id or uuid.uuid4().hex  # of all attempts
        if self._end or self._is_closing:
            raise self._end or Refused(StatusCode.CANCELLED, "the session is closed")
        if request.ByteSize() > FRAME_BYTES:  # gRPC would end the stream, and the next one too
            raise Refused(StatusCode.INVALID_ARGUMENT, "a frame has at most 256 KiB", "MESSAGE_TOO_LARGE")
        if sum(map(len, self._outbox.values())) >= OUTBOX_SENDS:
            raise Refused(StatusCode.RESOURCE_EXHAUSTED, f"{OUTBOX_SENDS} sends wait for an answer", "OUTBOX_FULL")
        send = Send(request, asyncio.get_running_loop().create_future())
        self._outbox.setdefault(conversation_id, deque()).append(send)
        self._wake.set()
        return await send.answer

    async def messages(self) -> AsyncIterator[Entry]:
        """Yields entries, each once and in order, until `close`; for one reader at a time.

        A Reset among them: the server was set back; what came of that conversation above its seq is void.

        Raises:
            Refused: why the session has ended; UNAUTHENTICATED: the login has.
        """
        while True:
            while not self._inbox:
                if self._end and not self._is_closing:
                    raise self._end
                if self._end:
                    return
                self._filled.clear()
                await self._filled.wait()
            entry = self._inbox.popleft()
            if isinstance(entry, message_pb2.Message):
                self._taken[entry.conversation_id] = entry.seq
            yield entry

    def ack(self, conversation_id: str, seq: int) -> None:
        """Says that all up to `seq` that `messages` gave is dealt with: it never comes to this device again."""
        seq, before = min(seq, self._taken.get(conversation_id, 0)), self._acks.get(conversation_id, 0)
        if seq > before:
            self._acks[conversation_id] = seq
            self._ack_count += seq - before
            self._untold.add(conversation_id)
            self._wake.set()

    async def close(self, limit_seconds: float = 10.0) -> None:
        """Waits for the answers to all sends, tells the last acks and ends the stream; at once after the limit."""
        self._is_closing = True
        self._wake.set()
        await asyncio.wait([self._running], timeout=limit_seconds)
        self._running.cancel()
        await asyncio.wait([self._running])

    # The streams, one after the other.

    async def _run(self) -> None:
        end: Exception = Refused(StatusCode.CANCELLED, "the session is closed")
        try:
            await self._keep_stream()
        except Exception as error:  # noqa: BLE001 # whatever it is, the program must hear of it
            end = error
        finally:
            self._end = end
            self._filled.set()
            for send in itertools.chain.from_iterable(self._outbox.values()):
                if not send.answer.done():
                    send.answer.set_exception(end)

    async def _keep_stream(self) -> None:
        while not self._is_closing or self._outbox or self._untold:
            end = await self._run_stream()
            if self._is_closing and end.code is StatusCode.OK:
                return
            is_expired = end.code is StatusCode.UNAUTHENTICATED
            if not is_expired and not end.is_passing:
                raise end
            if self._leave_time is not None:
                wait_seconds = max(0.0, self._leave_time - time.monotonic())
            elif is_expired and self._is_welcomed:
                wait_seconds = 0.0
            else:
                wait_seconds = pause_seconds(self._attempt, end.retry_seconds)
                self._attempt += 1
            log.info("the stream ended (%s); the next one in %.1f s", end, wait_seconds)
            await asyncio.sleep(wait_seconds)
            if is_expired:
                # After the pause, in which a short token ends, also one that was renewed since the stream began.
                await self._refresh(self._access_token)

    async def _run_stream(self) -> Refused:
        """Serves one stream, and says how it ended."""
        self._is_welcomed = self._is_live = self._has_fresh_token = False
        self._leave_time = None
        async with self._channel() as channel, asyncio.TaskGroup() as tasks:
            metadata = (("authorization", f"Bearer {self._access_token}"),)
            call = chat_service_pb2_grpc.ChatServiceStub(channel).Chat(metadata=metadata)
            writer = tasks.create_task(self._write(call))
            try:
                while True:
                    async with asyncio.timeout(3 * self._heartbeat_seconds):
                        frame = await call.read()
                    if not isinstance(frame, chat_pb2.ChatResponse):  # aio.EOF
                        return Refused(StatusCode.OK, "the server ended the stream")
                    self._receive(frame)
            except aio.AioRpcError as error:
                return Refused.from_call(error)
            except TimeoutError:
                return Refused(StatusCode.UNAVAILABLE, "the server is silent")
            except Refused as error:  # the hello was
                return error
            finally:
                writer.cancel()
                call.cancel()
                self._under_way.clear()  # it goes out again, before anything newer
                for sends in self._outbox.values():
                    sends[0].is_under_way = False

    async def _write(self, call: Any) -> None:
        """Writes what there is. The reader goes on meanwhile, and it learns why a stream ends."""
        with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(self._make_hello())
            while True:
                self._wake.clear()
                for frame in self._take_frames(time.monotonic()):
                    await call.write(frame)
                if self._is_done():
                    await call.done_writing()
                    return
                due_time = min([self._ack_time(), self._stale_time, *(send.due_time for send in self._list_ready())])
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, due_time - time.monotonic())):
                        await self._wake.wait()

    def _channel(self) -> aio.Channel:
        """One for each stream and call: so none meets a connection that hangs, or the pauses of a channel."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        if self._target.startswith(("localhost:", "127.", "[::1]:")):
            options.append(("grpc.enable_http_proxy", 0))  # no proxy leads to this machine
        if self._tls is None:
            return aio.insecure_channel(self._target, options)
        return aio.secure_channel(self._target, self._tls, options)

    # The login.

    async def _call(self, method: str, request: Any) -> Any:
        """Makes a call that may be repeated, as often as it takes."""
        attempt = -1
        while True:
            async with self._channel() as channel:
                stub = chat_service_pb2_grpc.ChatServiceStub(channel)
                try:
                    return await getattr(stub, method)(request, timeout=CALL_SECONDS)
                except aio.AioRpcError as error:
                    end = Refused.from_call(error)
            if not end.is_passing:
                raise end
            wait_seconds = pause_seconds(attempt := attempt + 1, end.retry_seconds)
            log.info("%s failed (%s); once more in %.1f s", method, end, wait_seconds)
            await asyncio.sleep(wait_seconds)

    async def _refresh(self, token: str) -> None:
        """Exchanges the tokens, unless that was done since `token` was in force."""
        async with self._renewing:
            if self._access_token == token:
                self._take_tokens(await self._call("RefreshToken", self._renewal))
                self._has_fresh_token = True
                self._wake.set()

    def _take_tokens(self, answer: account_pb2.LoginResponse | account_pb2.RefreshTokenResponse) -> None:
        self._access_token = answer.access_token
        # One id for all attempts to spend this refresh token: a second use with another one ends the login.
        self._renewal = account_pb2.RefreshTokenRequest(refresh_token=answer.refresh_token, request_id=uuid.uuid4().hex)
        self._note_life(answer.access_expire_time)

    def _note_life(self, expire_time: timestamp_pb2.Timestamp) -> None:
        """The exchange is due a minute before the access token ends, or half-way, by the server's clock."""
        if self._clock_ahead_seconds is not None:
            now = time.monotonic()
            life_seconds = expire_time.ToMilliseconds() / 1000 - self._clock_ahead_seconds - now
            self._stale_time = now + max(1.0, life_seconds - 60, life_seconds / 2)

    # What goes out.

    def _make_hello(self) -> chat_pb2.ChatRequest:
        self._hello_id = next(self._ids)
        newest = list(self._positions.items())[-HELLO_POSITIONS:]  # the others begin after their acks
        hello = chat_pb2.Hello(
            device_id=self._device_id,
            start=chat_pb2.START_FROM_ACKS,
            positions=[chat_pb2.Position(conversation_id=name, seq=seq) for name, seq in newest],
            heartbeat=datetime.timedelta(seconds=self._heartbeat_seconds),
            epoch=self._epoch,
            window_messages=max(1, WINDOW_ENTRIES - len(self._inbox)),
        )
        return chat_pb2.ChatRequest(correlation_id=self._hello_id, hello=hello)

    def _take_frames(self, now: float) -> list[chat_pb2.ChatRequest]:
        frames = []
        for send in self._list_ready():
            if send.due_time <= now:
                send.is_under_way = True
                self._under_way[number := next(self._ids)] = send
                frame = chat_pb2.SendFrame(requests=[send.request])
                frames.append(chat_pb2.ChatRequest(correlation_id=number, send=frame))
        if self._is_welcomed and self._has_fresh_token:
            self._has_fresh_token = False
            fresh = chat_pb2.Authenticate(access_token=self._access_token)
            frames.append(chat_pb2.ChatRequest(correlation_id=QUIET_ID, authenticate=fresh))
        if now >= self._stale_time:
            self._stale_time = float("inf")
            self._refreshing = asyncio.create_task(self._refresh(self._access_token))
            self._refreshing.add_done_callback(lambda task: task.cancelled() or task.exception())  # the stream will end
        if self._is_live and self._untold and (now >= self._ack_time() or self._is_done()):
            acks = [chat_pb2.Position(conversation_id=name, seq=self._acks[name]) for name in self._untold]
            for part in (acks[i : i + ACK_POSITIONS] for i in range(0, len(acks), ACK_POSITIONS)):
                frames += [chat_pb2.ChatRequest(correlation_id=QUIET_ID, ack=chat_pb2.AckFrame(positions=part))]
            self._untold.clear()
            self._ack_count, self._tell_time = 0, now + ACK_SECONDS
        return frames

    def _list_ready(self) -> list[Send]:
        """Sends that may go out when they are due: the first of each conversation."""
        if not self._is_welcomed or self._leave_time is not None:
            return []
        return [sends[0] for sends in self._outbox.values() if not sends[0].is_under_way]

    def _ack_time(self) -> float:
        """Once a second, and at once when half of the window waits; not before all resets are known."""
        if not self._is_live or not self._untold:
            return float("inf")
        return self._tell_time if self._ack_count < WINDOW_ENTRIES // 2 else 0.0

    def _is_done(self) -> bool:
        """Whether our half of the stream may end: all is answered, and the server or the program wants to go."""
        if self._leave_time is not None:
            return not self._under_way
        return self._is_closing and self._is_live and not self._outbox

    # What comes in.

    def _receive(self, frame: chat_pb2.ChatResponse) -> None:
        for welcome in frame.welcomes:
            self._is_welcomed, self._stream_epoch, self._attempt = True, welcome.epoch, 0
            self._clock_ahead_seconds = welcome.server_time.ToMilliseconds() / 1000 - time.monotonic()
            self._note_life(welcome.access_expire_time)
        for reset in frame.resets:
            self._void(reset)
        if frame.messages or frame.caught_up:
            if not self._is_live:  # all resets came; and acks of the stream before may be lost
                self._is_live, self._untold = True, set(self._acks)
            self._epoch = self._stream_epoch  # not before: a stream that breaks between two resets brings all again
        for message in frame.messages:
            if message.seq > self._positions.get(message.conversation_id, 0):  # else it came before
                self._move(message.conversation_id, message.seq)
                self._inbox.append(message)
        for mark in frame.caught_up:
            self._move(mark.conversation_id, mark.seq)
        for result in frame.results:
            is_accepted = result.HasField("accepted")
            self._settle(result.correlation_id, result.accepted if is_accepted else Refused.from_status(result.error))
        for error in frame.errors:
            if error.correlation_id == self._hello_id:
                self._take_hello_refusal(Refused.from_status(error.error))
            self._settle(error.correlation_id, Refused.from_status(error.error))
        for go_away in frame.go_aways:
            self._leave_time = time.monotonic() + go_away.reconnect_delay.ToMilliseconds() / 1000
        self._filled.set()
        self._wake.set()

    def _move(self, conversation_id: str, seq: int) -> None:
        if conversation_id:
            self._positions[conversation_id] = max(seq, self._positions.pop(conversation_id, 0))

    def _settle(self, number: int, outcome: message_pb2.Accepted | Refused) -> None:
        """Takes the answer to a send; one to anything else changes nothing."""
        if (send := self._under_way.pop(number, None)) is None:
            return
        send.is_under_way = False
        if isinstance(outcome, Refused) and outcome.retry_seconds is not None:  # for now: it keeps its place
            send.due_time = time.monotonic() + pause_seconds(send.attempt, outcome.retry_seconds)
            send.attempt += 1
            return
        self._outbox[send.request.conversation_id].popleft()
        if not self._outbox[send.request.conversation_id]:
            del self._outbox[send.request.conversation_id]
        if send.answer.done():  # nobody waits any more
            return
        if isinstance(outcome, Refused):
            send.answer.set_exception(outcome)
        else:
            send.answer.set_result(outcome)

    def _void(self, reset: chat_pb2.Reset) -> None:
        """What came above a seq is void: in one step, before anything newer is looked at."""
        name, seq = reset.conversation_id, reset.seq
        for seqs in (self._positions, self._taken, self._acks):
            if name in seqs:
                seqs[name] = min(seqs[name], seq)
        self._inbox = deque(entry for entry in self._inbox if entry.conversation_id != name or entry.seq <= seq)
        self._inbox.append(reset)

    def _take_hello_refusal(self, refused: Refused) -> None:
        """Before the welcome it is the end; after it, a position is of a conversation that the user is not in."""
        if not self._is_welcomed:
            raise refused
        if (
            self._stream_epoch != self._epoch and refused.conversation_id in self._positions
        ):  # it was made, or joined, after what was restored
            self._void(chat_pb2.Reset(conversation_id=refused.conversation_id, epoch=self._stream_epoch))
        for seqs in (self._positions, self._taken, self._acks):
            seqs.pop(refused.conversation_id, None)
        self._untold.discard(refused.conversation_id)
