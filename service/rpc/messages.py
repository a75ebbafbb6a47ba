"""Send, BatchSend, Pull."""

import asyncio
from collections.abc import Sequence

from parley.v1 import message_pb2

from service.convert import fast_wire, responses
from service.convert.drafts import Drafter, check_batch
from service.convert.messages import to_message
from service.convert.timestamps import from_timestamp
from service.domain import checks
from service.domain.call import Call
from service.domain.errors import ConversationNotFound, CursorBeyondEnd, InvalidRequest, ParleyError
from service.domain.hashes import RequestHasher
from service.messages.submission import Submission
from service.messages.writer import Writer
from service.rpc.telemetry import ErrorCounts
from storage.errors import Absent
from storage.postgres.log.messages import Messages
from storage.records import Outcome, Page, Stored

DEFAULT_PULL_LIMIT = 20
MAX_PULL_LIMIT = 500


class CallTicket:
    """Waits for all outcomes of a unary call."""

    def __init__(self, count: int) -> None:
        self.outcomes: list[Stored | ParleyError | None] = [None] * count
        self._open_count = count
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self, index: int, outcome: Stored | ParleyError) -> None:
        """Takes what became of the index-th message."""
        self.outcomes[index] = outcome
        self._open_count -= 1
        if self._open_count == 0 and not self._done.done():
            self._done.set_result(None)

    async def wait(self) -> list[Stored | ParleyError]:
        """Gives all outcomes, in order; the writer bounds the wait."""
        if self._open_count:
            await self._done
        return [outcome for outcome in self.outcomes if outcome is not None]


class MessageHandlers:
    """The calls about messages."""

    def __init__(self, writer: Writer, messages: Messages, hasher: RequestHasher, errors: ErrorCounts) -> None:
        self._errors = errors
        self._writer = writer
        self._messages = messages
        self._hasher = hasher

    async def send(self, request: message_pb2.SendRequest, call: Call) -> message_pb2.SendResponse | bytes:
        """Stores one message; answers after its commit."""
        draft, message = Drafter(call.caller.username, self._hasher).prepare(request)
        ticket = CallTicket(1)
        self._writer.submit([Submission(draft, message, ticket, 0, deadline=call.deadline)])
        (outcome,) = await ticket.wait()
        if isinstance(outcome, ParleyError):
            raise outcome
        if outcome.outcome is Outcome.DUPLICATE:
            entry = await self._messages.get_entry(draft.conversation_id, outcome.seq)
            return message_pb2.SendResponse(message=to_message(entry), deduplicated=True)
        assert outcome.create_time is not None
        return fast_wire.send_response(message, outcome.seq, outcome.create_time)

    async def batch_send(self, request: message_pb2.BatchSendRequest, call: Call) -> message_pb2.BatchSendResponse:
        """Stores several messages, each with an outcome of its own."""
        check_batch(request.requests)
        ticket = CallTicket(len(request.requests))
        drafter = Drafter(call.caller.username, self._hasher)
        submissions = []
        for index, one in enumerate(request.requests):
            try:
                draft, message = drafter.prepare(one)
            except ParleyError as refusal:
                ticket.settle(index, refusal)
            else:
                submissions.append(Submission(draft, message, ticket, index, deadline=call.deadline))
        if submissions:
            self._writer.submit(submissions)
        outcomes = await ticket.wait()
        for outcome in outcomes:
            if isinstance(outcome, ParleyError):
                self._errors.note("BatchSend", outcome.reason)
        return message_pb2.BatchSendResponse(results=_to_results(request.requests, submissions, outcomes))

    async def pull(self, request: message_pb2.PullRequest, call: Call) -> message_pb2.PullResponse:
        """Reads a part of a conversation's log, in one statement (two by time)."""
        conversation_id = checks.to_conversation_id(request.conversation_id)
        limit = checks.to_page_size(request.limit, "limit", default=DEFAULT_PULL_LIMIT, maximum=MAX_PULL_LIMIT)
        if request.cursor < 0:
            raise InvalidRequest("cursor", "must not be negative")
        username = call.caller.username
        try:
            cursor = request.cursor
            if request.HasField("from_time"):
                cursor = await self._to_cursor(request, conversation_id, username)
                if cursor == 0 and request.reverse:
                    return await self._before_all(conversation_id, username)
            page = await self._messages.read_page(
                conversation_id, username, cursor=cursor, limit=limit, reverse=request.reverse
            )
        except Absent:
            raise ConversationNotFound(conversation_id) from None
        if cursor > page.last_seq + 1:
            raise CursorBeyondEnd(conversation_id, page.last_seq)
        return _to_pull_response(page, reverse=request.reverse)

    async def _to_cursor(self, request: message_pb2.PullRequest, conversation_id: str, username: str) -> int:
        if request.cursor:
            raise InvalidRequest("from_time", "can't go with a cursor")
        try:
            time = from_timestamp(request.from_time)
        except ValueError:
            raise InvalidRequest("from_time", "must be a time between the years 1 and 9999") from None
        return await self._messages.find_seq_by_time(conversation_id, username, time, reverse=request.reverse)

    async def _before_all(self, conversation_id: str, username: str) -> message_pb2.PullResponse:
        """Reverse from a time before the first entry: nothing, and nothing more."""
        page = await self._messages.read_page(conversation_id, username, cursor=1, limit=0, reverse=True)
        return message_pb2.PullResponse(epoch=page.epoch)


def _to_pull_response(page: Page, *, reverse: bool) -> message_pb2.PullResponse:
    if reverse:
        next_cursor = page.entries[-1].seq - 1 if page.has_more else 0
    else:
        next_cursor = page.entries[-1].seq + 1 if page.entries else page.last_seq + 1
    return message_pb2.PullResponse(
        messages=map(to_message, page.entries), next_cursor=next_cursor, has_more=page.has_more, epoch=page.epoch
    )


def _to_results(
    requests: Sequence[message_pb2.SendRequest],
    submissions: Sequence[Submission],
    outcomes: Sequence[Stored | ParleyError],
) -> list[message_pb2.SendResult]:
    conversation_ids = {submission.index: submission.draft.conversation_id for submission in submissions}
    return [
        responses.result(0, index, conversation_ids.get(index, ""), outcome)
        for index, (_, outcome) in enumerate(zip(requests, outcomes, strict=True))
    ]
