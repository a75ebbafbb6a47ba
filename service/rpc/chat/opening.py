"""Carries out the hello of a stream: the session begins where its hello says, then the welcome goes out.

The steps lie in rooms that don't know each other, so that their order stands here: acks of the device's last stream,
subscriptions or manual delivery, presence, welcome, refused positions, receipts.
"""

import asyncio
from datetime import UTC, datetime

from parley.v1 import chat_pb2

from service.convert.timestamps import to_timestamp
from service.delivery.stream_state import PhaseEvent
from service.delivery.streams import OpenStream
from service.domain.errors import OutOfOrder, ParleyError
from service.rpc.chat.hello import Terms, to_terms
from service.rpc.chat.parts import ChatParts
from storage.records import AckMode

# Refused positions of a hello that are told before others come to their turn: some milliseconds of work.
_REFUSALS_A_TURN = 250


class Opening:
    """The hello of one stream.

    Attributes:
        heartbeat_seconds: after how much silence the stream writes a heartbeat; None: never. Set with the welcome:
            nothing is written before.
    """

    def __init__(self, parts: ChatParts, stream: OpenStream) -> None:
        self._parts = parts
        self._stream = stream
        self._session = stream.session
        self.heartbeat_seconds: float | None = None

    async def open(self, hello: chat_pb2.Hello, correlation_id: int) -> None:
        """Opens the session.

        Raises:
            OutOfOrder: a hello came already.
            ParleyError: the hello is refused; another one may come.
        """
        session = self._session
        if not session.state.phase.takes_hello:
            raise OutOfOrder("`hello` came already; it comes once.", metadata={"payload": "hello"})
        terms = to_terms(hello)
        device_id = self._stream.principal.device_for(terms.device_id)
        session.configure(device_id, no_echo=terms.no_echo, mode=terms.mode, window=terms.window)
        session.state.note(PhaseEvent.HELLO)
        try:
            refusals = await self._attach(terms)
            await self._parts.presence.arrive(session)  # before the welcome: who has it is online for the others
        except BaseException:
            session.state.note(PhaseEvent.REFUSAL)
            self._parts.hub.detach(session)
            raise
        session.state.note(PhaseEvent.WELCOME)
        session.outbox.put_first(self._welcome(correlation_id))
        self.heartbeat_seconds = terms.heartbeat_seconds
        for nth, refusal in enumerate(refusals, 1):
            session.outbox.put_error(correlation_id, refusal)
            if nth % _REFUSALS_A_TURN == 0:
                await asyncio.sleep(0)
        if terms.watches_receipts:
            self._parts.receipts.watch(session)

    async def _attach(self, terms: Terms) -> list[ParleyError]:
        """Has the session begin where its hello says; returns what is wrong with its positions."""
        session, parts = self._session, self._parts
        if terms.mode.ack_mode is AckMode.CUMULATIVE:
            await parts.acks.settle(session.username, session.device_id)
            return await parts.subscriptions.attach(
                session, terms.positions, starts_at_latest=terms.starts_at_latest, epoch=terms.epoch
            )
        deadline_seconds = terms.ack_deadline_seconds
        await parts.manual.open(
            session,
            window_messages=terms.manual_window,
            ack_deadline_seconds=parts.ack_deadline_seconds if deadline_seconds is None else deadline_seconds,
            starts_at_latest=terms.starts_at_latest,
        )
        return []

    def _welcome(self, correlation_id: int) -> bytes:
        session, principal = self._session, self._stream.principal
        welcome = chat_pb2.Welcome(
            correlation_id=correlation_id,
            username=session.username,
            device_id=session.device_id,
            session_id=f"{session.session_id:016x}",
            epoch=self._parts.epoch,
            server_time=to_timestamp(datetime.now(UTC)),
            conversation_count=len(session.subscriptions.conversation_ids),
            access_expire_time=to_timestamp(datetime.fromtimestamp(principal.expire_time, UTC)),
        )
        return chat_pb2.ChatResponse(welcomes=[welcome]).SerializeToString()
