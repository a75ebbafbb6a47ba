"""What each arm of a ChatRequest does. The two loops of a stream are in `stream.py`; the state is the Session's."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from parley.v1 import chat_pb2

from service.consumers.service import ManualDelivery
from service.conversations.service import ConversationService
from service.convert.drafts import Drafter
from service.convert.positions import from_position, from_positions
from service.convert.timestamps import to_timestamp
from service.delivery.acks import AckWriter
from service.delivery.device_modes import DeviceModes
from service.delivery.fanout import Fanout
from service.delivery.hub import Hub
from service.delivery.stream_state import PhaseEvent
from service.delivery.streams import OpenStream
from service.delivery.subscription_manager import SubscriptionManager
from service.delivery.window import Window
from service.domain import checks, errors
from service.domain.hashes import RequestHasher
from service.domain.limits import (
    MAX_HEARTBEAT_SECONDS,
    MAX_HELLO_POSITIONS,
    MAX_WINDOW_MESSAGES,
    MIN_HEARTBEAT_SECONDS,
)
from service.domain.token_bucket import Rate, TokenBucket
from service.messages.service import MessageService
from service.presence.tracker import PresenceTracker
from service.receipts.tracker import ReceiptTracker
from service.rpc.authentication import Authenticator
from service.rpc.chat.manual_frames import to_ack_deadline, to_acks, to_manual_window, to_mode, to_nacks
from service.rpc.presence import to_presence_usernames
from storage.records import AckMode

# Refused positions of a hello that are told before others come to their turn: some milliseconds of work.
_REFUSALS_A_TURN = 250
# Typing frames of a stream that go out; more are dropped without a word.
_TYPING_RATE = Rate(burst=10, per_second=5)


@dataclass(frozen=True, slots=True)
class ChatParts:
    """What streams work with; one for a worker."""

    authenticator: Authenticator
    hub: Hub
    subscriptions: SubscriptionManager
    messages: MessageService
    fanout: Fanout
    acks: AckWriter
    modes: DeviceModes
    manual: ManualDelivery
    presence: PresenceTracker
    receipts: ReceiptTracker
    conversations: ConversationService
    hasher: RequestHasher
    epoch: int
    ack_deadline_seconds: float


class FrameHandlers:
    """The arms, for one stream.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, parts: ChatParts, stream: OpenStream, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._stream = stream
        self._session = stream.session
        self._drafter = Drafter(stream.session.username, parts.hasher)
        self._typing = TokenBucket(_TYPING_RATE, clock)
        self.heartbeat_seconds: float | None = None

    async def handle(self, frame: chat_pb2.ChatRequest) -> None:
        """Does what a frame asks for.

        Raises:
            ParleyError: the frame is refused; the stream goes on.
        """
        arm = frame.WhichOneof("payload")
        if arm is None:
            raise errors.UnknownPayload
        if arm == "hello":
            await self.open(frame.hello, frame.correlation_id)
            return
        if not self._session.state.phase.takes_frames:
            raise errors.OutOfOrder(f"`hello` must come first, before `{arm}`.", metadata={"payload": arm})
        match arm:
            case "send":
                checked = self._drafter.prepare_all(frame.send.requests)
                self._parts.messages.send_on_stream(self._session, checked, frame.correlation_id)
            case "ack":
                self._ack(frame.ack, frame.correlation_id)
            case "nack":
                self._nack(frame.nack, frame.correlation_id)
            case "flow":
                self._flow(frame.flow)
            case "read":
                await self._read(frame.read, frame.correlation_id)
            case "typing":
                self._type(frame.typing)
            case "watch_presence":
                usernames = to_presence_usernames(list(frame.watch_presence.usernames))
                await self._parts.presence.watch(self._session, usernames, frame.correlation_id)
            case "authenticate":
                await self._authenticate(frame.authenticate)

    async def open(self, hello: chat_pb2.Hello, correlation_id: int) -> None:
        """Opens the session."""
        if not self._session.state.phase.takes_hello:
            raise errors.OutOfOrder("`hello` came already; it comes once.", metadata={"payload": "hello"})
        session, principal = self._session, self._stream.principal
        heartbeat_seconds = _to_heartbeat(hello)
        if len(hello.positions) > MAX_HELLO_POSITIONS:
            raise errors.InvalidRequest("positions", f"must be at most {MAX_HELLO_POSITIONS}")
        if hello.epoch < 0:
            raise errors.InvalidRequest("epoch", "must not be negative")
        explicit = dict(from_position(position) for position in hello.positions)
        device_id = checks.to_device_id(hello.device_id) or principal.device_id or "default"
        mode = to_mode(hello)
        starts_at_latest = _to_starts_at_latest(hello)
        window = _to_window(hello)
        session.configure(
            device_id,
            no_echo=hello.no_echo,
            mode=mode,
            window=window if mode.ack_mode is AckMode.CUMULATIVE else None,
        )
        session.state.note(PhaseEvent.HELLO)
        try:
            refusals = await self._attach(hello, explicit, starts_at_latest=starts_at_latest)
            await self._parts.presence.arrive(session)  # before the welcome: who has it is online for the others
        except BaseException:
            session.state.note(PhaseEvent.REFUSAL)
            self._parts.hub.detach(session)
            raise
        session.state.note(PhaseEvent.WELCOME)
        session.outbox.put_first(self._welcome(correlation_id))
        self.heartbeat_seconds = heartbeat_seconds  # signs of life follow the welcome; until then nothing is written
        for nth, refusal in enumerate(refusals, 1):
            session.outbox.put_error(correlation_id, refusal)
            if nth % _REFUSALS_A_TURN == 0:
                await asyncio.sleep(0)
        if hello.watch_receipts:
            self._parts.receipts.watch(session)

    async def _attach(
        self, hello: chat_pb2.Hello, explicit: dict[str, int], *, starts_at_latest: bool
    ) -> list[errors.ParleyError]:
        """Has the session begin where its hello says; gives what was wrong with its positions."""
        if self._session.mode.ack_mode is AckMode.CUMULATIVE:
            await self._parts.acks.settle(self._session.username, self._session.device_id)
            return await self._parts.subscriptions.attach(
                self._session, explicit, starts_at_latest=starts_at_latest, epoch=hello.epoch
            )
        await self._parts.manual.open(
            self._session,
            window_messages=to_manual_window(hello),
            ack_deadline_seconds=to_ack_deadline(hello, self._parts.ack_deadline_seconds),
            starts_at_latest=starts_at_latest,
        )
        return []

    def go_on(self) -> None:
        """Says that something was written."""
        self._parts.manual.schedule(self._session)

    def _welcome(self, correlation_id: int) -> bytes:
        session, principal = self._session, self._stream.principal
        return chat_pb2.ChatResponse(
            welcomes=[
                chat_pb2.Welcome(
                    correlation_id=correlation_id,
                    username=session.username,
                    device_id=session.device_id,
                    session_id=f"{session.session_id:016x}",
                    epoch=self._parts.epoch,
                    server_time=to_timestamp(datetime.now(UTC)),
                    conversation_count=len(session.subscriptions.conversation_ids),
                    access_expire_time=to_timestamp(datetime.fromtimestamp(principal.expire_time, UTC)),
                )
            ]
        ).SerializeToString()

    def _ack(self, frame: chat_pb2.AckFrame, correlation_id: int) -> None:
        session = self._session
        if session.mode.ack_mode is AckMode.MANUAL:
            self._parts.manual.ack(session, to_acks(frame.positions), correlation_id)
            return
        for conversation_id, seq in from_positions(frame.positions).items():
            delivered_seq = self._parts.hub.delivered_seq(conversation_id, session)
            if delivered_seq is None:
                session.outbox.put_error(correlation_id, errors.ConversationNotFound(conversation_id))
            elif seq > delivered_seq:
                session.outbox.put_error(correlation_id, errors.AckBeyondDelivered(conversation_id, delivered_seq))
            else:
                self._parts.acks.note(session.username, session.device_id, conversation_id, seq)
                if session.window is not None:
                    session.window.ack(conversation_id, seq)
        session.outbox.wake()

    def _flow(self, frame: chat_pb2.FlowFrame) -> None:
        window = self._session.window
        if frame.total_messages < 0:
            raise errors.InvalidRequest("total_messages", "must not be negative")
        if window is not None and not window.flow(frame.total_messages):
            raise errors.InvalidRequest(
                "total_messages", f"is above what this stream brought, which is {window.delivered_count}"
            )
        self._session.outbox.wake()

    def _nack(self, frame: chat_pb2.NackFrame, correlation_id: int) -> None:
        session = self._session
        if session.mode.ack_mode is not AckMode.MANUAL:
            raise errors.AckModeMismatch(session.device_id)
        self._parts.manual.nack(session, to_nacks(frame, session.session_id), correlation_id)

    async def _read(self, frame: chat_pb2.ReadFrame, correlation_id: int) -> None:
        for conversation_id, seq in from_positions(frame.positions).items():
            try:
                await self._parts.conversations.mark_read(self._session.username, conversation_id, seq)
            except errors.ParleyError as refusal:
                self._session.outbox.put_error(correlation_id, refusal)

    def _type(self, frame: chat_pb2.TypingFrame) -> None:
        conversation_id = checks.to_conversation_id(frame.conversation_id)
        if not self._session.subscriptions.is_in(conversation_id):
            raise errors.ConversationNotFound(conversation_id)
        if not self._typing.take():
            return  # readers let a state lapse by themselves
        self._parts.fanout.publish_typing(
            conversation_id, self._session.username, is_active=frame.active, origin=self._session.session_id
        )

    async def _authenticate(self, frame: chat_pb2.Authenticate) -> None:
        principal = await self._parts.authenticator.authenticate(frame.access_token)
        if principal.username != self._session.username:
            raise errors.TokenInvalid("The token is of another user than this stream's.")
        self._stream.authenticate(principal)


def _to_heartbeat(hello: chat_pb2.Hello) -> float | None:
    if not hello.HasField("heartbeat"):
        return None
    seconds = hello.heartbeat.seconds + hello.heartbeat.nanos / 1e9
    if not MIN_HEARTBEAT_SECONDS <= seconds <= MAX_HEARTBEAT_SECONDS:
        raise errors.InvalidRequest("heartbeat", "must be 1 s to 600 s")
    return seconds


def _to_starts_at_latest(hello: chat_pb2.Hello) -> bool:
    # A newer client's choice that is not known here must not silently become the default.
    if hello.start not in chat_pb2.Start.values():
        raise errors.InvalidRequest("start", "must be START_FROM_ACKS or START_LATEST")
    return hello.start == chat_pb2.START_LATEST


def _to_window(hello: chat_pb2.Hello) -> Window | None:
    for name, value in (("window_messages", hello.window_messages), ("window_bytes", hello.window_bytes)):
        if value < 0:
            raise errors.InvalidRequest(name, "must not be negative")
    if not (hello.window_messages or hello.window_bytes):
        return None
    return Window(min(hello.window_messages or MAX_WINDOW_MESSAGES, MAX_WINDOW_MESSAGES), hello.window_bytes)
