"""Ack, the unary call: convert, call one verb, answer. The verb is in `service/messages/acks.py`."""

from parley.v1 import chat_pb2

from service.convert.positions import from_ack
from service.domain.call import Call
from service.messages.acks import AckService


class AckHandlers:
    """The call for devices that can't acknowledge on a stream."""

    def __init__(self, service: AckService) -> None:
        self._service = service

    async def ack(self, request: chat_pb2.AckRequest, call: Call) -> chat_pb2.AckResponse:
        """Stores what a device has."""
        positions, device_id = from_ack(request)
        caller = call.caller
        await self._service.ack(caller.username, caller.device_for(device_id), positions, epoch=request.epoch)
        return chat_pb2.AckResponse()
