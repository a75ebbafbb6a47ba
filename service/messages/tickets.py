"""The two ways in which senders wait for outcomes: a call waits for all, a stream gets them as they come."""

import asyncio

from service.convert import responses
from service.delivery.session import Session
from service.domain.errors import ParleyError
from storage.records import Outcome, Stored


class CallTicket:
    """Waits for all outcomes of a unary call.

    Args:
        count: messages of the call.
    """

    def __init__(self, count: int) -> None:
        self._outcomes: list[Stored | ParleyError | None] = [None] * count
        self._open_count = count
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self, index: int, outcome: Stored | ParleyError) -> None:
        """Takes the outcome of the message with this index."""
        self._outcomes[index] = outcome
        self._open_count -= 1
        if self._open_count == 0 and not self._done.done():
            self._done.set_result(None)

    async def wait(self) -> list[Stored | ParleyError]:
        """Returns all outcomes, in the order of the messages. The writer bounds the wait."""
        if self._open_count:
            await self._done
        return [outcome for outcome in self._outcomes if outcome is not None]


class StreamTicket:
    """Gathers the outcomes of one send frame; those of one step of the event loop go out as one piece.

    Args:
        correlation_id: of the frame; without one (0) only refusals are answered.
        conversation_ids: of the frame's messages, by index; "" for a message that was refused before it had one.
    """

    def __init__(self, session: Session, correlation_id: int, conversation_ids: list[str]) -> None:
        self._session = session
        self._correlation_id = correlation_id
        self._conversation_ids = conversation_ids
        self._ready: list[tuple[int, Stored | ParleyError]] = []

    def settle(self, index: int, outcome: Stored | ParleyError) -> None:
        """Takes the outcome of the message with this index."""
        if not self._ready:
            asyncio.get_running_loop().call_soon(self._flush)
        self._ready.append((index, outcome))
        if isinstance(outcome, ParleyError):
            self._session.outbox.on_error(outcome.reason)

    def _flush(self) -> None:
        ready, self._ready = self._ready, []
        stored_at: dict[str, int] = {}  # the highest seq in each conversation
        for index, outcome in ready:
            if isinstance(outcome, Stored) and outcome.outcome is Outcome.STORED:
                conversation_id = self._conversation_ids[index]
                if outcome.seq > stored_at.get(conversation_id, 0):
                    stored_at[conversation_id] = outcome.seq
        for conversation_id, seq in stored_at.items():
            self._session.note_stored(conversation_id, seq)
        outbox = self._session.outbox
        outbox.note_answers(len(ready))
        body = responses.results(self._correlation_id, self._conversation_ids, ready)
        if body:
            outbox.put(body)
        else:
            outbox.wake()
