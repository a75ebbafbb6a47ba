"""A sender that calls `Send`, one message after the other: many of them make many outstanding calls."""

import asyncio
from collections.abc import Mapping, Sequence

from grpc import aio
from parley.v1 import message_pb2

from bench.connections import delay_of_status, in_words, reason_of_status, status_of, stub_of, to_metadata
from bench.errors import RunBroken
from bench.meter import Meter, now_us
from bench.outbox import Outbox
from bench.texts import REQUEST_ID, Texts
from bench.users import User
from bench.verify import to_key

_CALL_SECONDS = 30.0
# A server that refuses everything else is at work; these say that it is gone, or that nothing will ever be taken.
_HOPELESS = frozenset({"UNAUTHENTICATED", "TOKEN_INVALID", "TOKEN_EXPIRED", "UNAVAILABLE", "CANCELLED"})


class UnarySender(Outbox):
    """Sends numbered texts to its conversations in turn, a call each."""

    def __init__(
        self, channel: aio.Channel, user: User, index: int, conversations: Sequence[str], texts: Texts, meter: Meter
    ) -> None:
        super().__init__(conversations)
        self._stub = stub_of(channel)
        self._username = user.name
        self._metadata = to_metadata(user.token)
        self._index = index
        self._conversations = conversations
        self._texts = texts
        self._head = texts.head(index)
        self._meter = meter
        self._number = 1

    def renew(self, tokens: Mapping[str, str]) -> None:
        """Calls with the user's fresh token from now on, if there is one among these."""
        if token := tokens.get(self._username):
            self._metadata = to_metadata(token)

    async def send_closed(self, window_frames: int) -> None:
        """Sends one after the other, until `stop`. Raises: RunBroken."""
        while not self._is_stopped:
            await self._send(now_us())

    async def drain(self) -> None:
        """Has nothing to wait for: the end of `send_open` and `send_closed` is the last answer."""

    async def _send(self, time_us: int) -> None:
        number = self._number
        self._number += 1
        conversation = self._conversations[number % len(self._conversations)]
        (text,) = self._texts.make(self._head, (number,), time_us)
        request = message_pb2.SendRequest(conversation_id=conversation, text=text, request_id=text[REQUEST_ID])
        self._meter.count("sent")
        try:
            answer = await self._stub.Send(request, metadata=self._metadata, timeout=_CALL_SECONDS)
        except aio.AioRpcError as error:
            await self._take_refusal(error)
            return
        acks = self.acks[conversation]
        acks.seqs.append(answer.message.seq)
        acks.keys.append(to_key(self._index, number))
        self._meter.count("acked")
        self._meter.time("ack", time_us, now_us())

    async def _take_refusal(self, error: aio.AioRpcError) -> None:
        status = status_of(error)
        reason = reason_of_status(status)
        self._meter.error(reason)
        if reason in _HOPELESS:
            raise RunBroken(f"Send: {in_words(error)}") from error
        await asyncio.sleep(delay_of_status(status))
