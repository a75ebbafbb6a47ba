"""What each arm of a ChatRequest does: convert, and call one verb. The two loops of a stream are in `stream.py`."""

import time
from collections.abc import Callable
from functools import partial

from parley.v1 import chat_pb2

from service.convert.drafts import Drafter
from service.convert.positions import from_positions, highest
from service.delivery.streams import OpenStream
from service.delivery.typing_signals import TypingSignals
from service.domain import checks
from service.domain.errors import OutOfOrder, UnknownPayload
from service.rpc.chat.nacks import to_nacks
from service.rpc.chat.opening import Opening
from service.rpc.chat.parts import ChatParts
from service.rpc.presence import to_presence_usernames
from storage.records import AckMode


class FrameHandlers:
    """The arms, for one stream.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, parts: ChatParts, stream: OpenStream, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._stream = stream
        self._session = stream.session
        self._opening = Opening(parts, stream)
        self._drafter = Drafter(stream.session.username, parts.hasher)
        self._typing = TypingSignals(stream.session, parts.fanout, clock)
        self.open = self._opening.open

    @property
    def heartbeat_seconds(self) -> float | None:
        """After how much silence a heartbeat is written; None: never, or the session is not open yet."""
        return self._opening.heartbeat_seconds

    async def handle(self, frame: chat_pb2.ChatRequest) -> None:
        """Does what a frame asks for.

        Raises:
            ParleyError: the frame is refused; the stream goes on.
        """
        arm, number = frame.WhichOneof("payload"), frame.correlation_id
        parts, session = self._parts, self._session
        if arm is None:
            raise UnknownPayload
        if arm != "hello" and not session.state.phase.takes_frames:
            raise OutOfOrder(f"`hello` must come first, before `{arm}`.", metadata={"payload": arm})
        match arm:
            case "send":
                parts.messages.send_on_stream(session, self._drafter.prepare_all(frame.send.requests), number)
            case "ack":
                is_exact = session.mode.ack_mode is AckMode.MANUAL
                parts.acks.ack_on_stream(session, from_positions(frame.ack.positions, is_exact=is_exact), number)
            case "nack":
                parts.manual.check_manual(session)
                parts.manual.nack(session, to_nacks(frame.nack, session.session_id), number)
            case "flow":
                parts.acks.flow(session, checks.to_natural(frame.flow.total_messages, "total_messages"))
            case "read":
                seqs = highest(from_positions(frame.read.positions))
                put_error = partial(session.outbox.put_error, number)
                await parts.conversations.mark_all_read(session.username, seqs, on_refused=put_error)
            case "typing":
                conversation_id = checks.to_conversation_id(frame.typing.conversation_id)
                self._typing.publish(conversation_id, is_active=frame.typing.active)
            case "watch_presence":
                usernames = to_presence_usernames(list(frame.watch_presence.usernames))
                await parts.presence.watch(session, usernames, number)
            case "authenticate":
                self._stream.authenticate(await parts.authenticator.authenticate(frame.authenticate.access_token))
            case "hello":
                await self._opening.open(frame.hello, number)

    def go_on(self) -> None:
        """Notes that something was written."""
        self._parts.manual.schedule(self._session)
