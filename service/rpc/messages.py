"""Send, BatchSend, Pull: convert, call one verb, convert back. The verbs are in `service/messages/service.py`."""

from parley.v1 import message_pb2

from service.convert import fast_wire, pulls, responses
from service.convert.drafts import Drafter, conversation_ids_of
from service.convert.messages import to_message
from service.domain.call import Call
from service.domain.errors import ParleyError
from service.domain.hashes import RequestHasher
from service.messages.service import MessageService
from service.rpc.telemetry import ErrorCounts
from storage.records import Entry


class MessageHandlers:
    """The calls about messages.

    Args:
        errors: counts the refusals within batches, which are answered with OK as a whole.
    """

    def __init__(self, service: MessageService, hasher: RequestHasher, errors: ErrorCounts) -> None:
        self._service = service
        self._hasher = hasher
        self._errors = errors

    async def send(self, request: message_pb2.SendRequest, call: Call) -> message_pb2.SendResponse | bytes:
        """Stores one message; answers after its commit."""
        prepared = Drafter(call.caller.username, self._hasher).prepare(request)
        sent = await self._service.send(prepared, deadline=call.deadline)
        if isinstance(sent, Entry):
            return message_pb2.SendResponse(message=to_message(sent), deduplicated=True)
        assert sent.create_time is not None
        return fast_wire.send_response(prepared[1], sent.seq, sent.create_time)

    async def batch_send(self, request: message_pb2.BatchSendRequest, call: Call) -> message_pb2.BatchSendResponse:
        """Stores several messages, each with an outcome of its own."""
        checked = Drafter(call.caller.username, self._hasher).prepare_all(request.requests)
        outcomes = await self._service.send_batch(checked, deadline=call.deadline)
        for outcome in outcomes:
            if isinstance(outcome, ParleyError):
                self._errors.note("BatchSend", outcome.reason)
        places = enumerate(zip(conversation_ids_of(checked), outcomes, strict=True))
        return message_pb2.BatchSendResponse(
            results=[responses.result(0, index, name, outcome) for index, (name, outcome) in places]
        )

    async def pull(self, request: message_pb2.PullRequest, call: Call) -> message_pb2.PullResponse:
        """Reads a part of a conversation's log."""
        page, next_cursor = await self._service.pull(call.caller.username, pulls.from_pull(request))
        return pulls.to_pull_response(page, next_cursor=next_cursor)
