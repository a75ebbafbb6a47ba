"""Send, BatchSend and a send frame have the same outcome for the same request, and so have Ack and an ack frame."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from parley.v1 import account_pb2, chat_pb2, conversation_pb2, message_pb2

from tests.support.people import PASSWORD, Person, Stream, reason_of, registered, status_of
from tests.support.servers import RunningServer
from tests.support.waiting import wait_for


@dataclass(slots=True)
class Scene:
    """alice with a stream, and conversations in which her messages have different outcomes.

    Attributes:
        ids: conversation ids by the names that the tables below use.
    """

    alice: Person
    stream: Stream
    ids: dict[str, str]

    def request(self, place: str, fields: dict[str, Any]) -> message_pb2.SendRequest:
        return message_pb2.SendRequest(conversation_id=self.ids.get(place, place), **({"text": "hello"} | fields))

    async def by_call(self, request: message_pb2.SendRequest) -> message_pb2.SendResponse | status_pb2.Status:
        """Sends by Send; returns its response, or its status."""
        try:
            response: message_pb2.SendResponse = await self.alice.call("Send", request)
        except grpc.aio.AioRpcError as error:
            return status_of(error)
        return response

    async def by_batch(self, request: message_pb2.SendRequest) -> message_pb2.SendResult:
        """Sends by BatchSend; returns the result."""
        response = await self.alice.call("BatchSend", message_pb2.BatchSendRequest(requests=[request]))
        result: message_pb2.SendResult = response.results[0]
        return result


@pytest.fixture(scope="module")
async def scene(server: RunningServer) -> AsyncIterator[Scene]:
    async with (
        registered(server.target) as alice,
        registered(server.target) as bob,
        registered(server.target) as gone,
        registered(server.target) as eve,
    ):
        own, news = await alice.make_group(bob), await bob.make_group(alice)
        ids = {
            "own": own,
            "news": news,
            "acked": await alice.make_group(),
            "left": await bob.make_group(alice),
            "foreign": await bob.make_group(),
            "direct": f"{alice.name}:{bob.name}",
            "direct of others": f"{bob.name}:{eve.name}",
            "direct with a deleted user": f"{alice.name}:{gone.name}",
            "direct with nobody": f"{alice.name}:{alice.name[::-1]}",
        }
        await alice.send(own, "first", request_id="taken")
        update = conversation_pb2.UpdateMemberRequest(
            conversation_id=news, username=alice.name, role=message_pb2.MEMBER_ROLE_READER
        )
        await bob.call("UpdateMember", update)
        removal = conversation_pb2.RemoveMembersRequest(conversation_id=ids["left"], members=[alice.name])
        await bob.call("RemoveMembers", removal)
        await gone.call("DeleteAccount", account_pb2.DeleteAccountRequest(password=PASSWORD))
        await alice.send(ids["acked"], "one")
        async with alice.chat() as stream:
            await stream.until(lambda: stream.seqs(ids["acked"]) == [1], "the message of the acks")
            yield Scene(alice, stream, ids)


@pytest.mark.parametrize(
    ("place", "fields"),
    [
        ("own", {}),
        ("own", {"text": "naïve ✓", "mentions": ["somebody"], "attributes": {"k": "v"}, "reply_to_seq": 1}),
        ("own", {"text": "", "data": b"\0\1", "content_type": "a/b"}),
        ("direct", {}),
    ],
)
async def test_message_that_is_stored_by_one_is_a_repeat_for_the_others(scene: Scene, place, fields) -> None:
    for nth, first in enumerate(["call", "batch", "frame"]):
        request = scene.request(place, fields | {"request_id": f"{place}-{sorted(fields)}-{nth}"[:64]})
        results = {}
        for way in (first, *({"call", "batch", "frame"} - {first})):
            if way == "call":
                response = await scene.by_call(request)
                assert isinstance(response, message_pb2.SendResponse)
                results[way] = message_pb2.Accepted(
                    conversation_id=response.message.conversation_id,
                    seq=response.message.seq,
                    create_time=response.message.create_time,
                    deduplicated=response.deduplicated,
                )
            elif way == "batch":
                results[way] = (await scene.by_batch(request)).accepted
            else:
                (result,) = await scene.stream.send(request)
                results[way] = result.accepted
        assert {way for way, accepted in results.items() if not accepted.deduplicated} == {first}
        places = {(one.conversation_id, one.seq, one.create_time.ToNanoseconds()) for one in results.values()}
        assert len(places) == 1, results


REFUSALS = [
    ("INVALID_REQUEST", "own", {"text": ""}),
    ("INVALID_REQUEST", "own", {"text": "a\0b"}),
    ("INVALID_REQUEST", "own", {"request_id": "r" * 65}),
    ("INVALID_REQUEST", "own", {"data": b"1"}),
    ("INVALID_REQUEST", "own", {"mentions": ["Not A Name"]}),
    ("INVALID_REQUEST", "own", {"attributes": {"": "v"}}),
    ("INVALID_REQUEST", "own", {"attachments": [message_pb2.Attachment()]}),
    ("INVALID_REQUEST", "own", {"reply_to_seq": -1}),
    ("INVALID_REQUEST", "a:b:c", {}),
    ("MESSAGE_TOO_LARGE", "own", {"text": "x" * 16_385}),
    ("MESSAGE_TOO_LARGE", "own", {"data": b"x" * 66_000, "content_type": "a/b"}),
    ("REQUEST_ID_REUSED", "own", {"request_id": "taken"}),
    ("REPLY_NOT_FOUND", "own", {"reply_to_seq": 2**62}),
    ("ROLE_TOO_LOW", "news", {}),
    ("CONVERSATION_NOT_FOUND", "left", {}),
    ("CONVERSATION_NOT_FOUND", "foreign", {}),
    ("CONVERSATION_NOT_FOUND", "nosuchgroup", {}),
    ("CONVERSATION_NOT_FOUND", "direct of others", {}),
    ("USER_NOT_FOUND", "direct with a deleted user", {}),
    ("USER_NOT_FOUND", "direct with nobody", {}),
]


@pytest.mark.parametrize(("reason", "place", "fields"), REFUSALS)
async def test_each_refusal_has_the_same_status_by_all_three(scene: Scene, reason, place, fields) -> None:
    request = scene.request(place, fields)
    status = await scene.by_call(request)
    assert isinstance(status, status_pb2.Status)
    assert reason_of(status) == reason
    (result,) = await scene.stream.send(request)
    assert result.error == status
    assert (await scene.by_batch(request)).error == status


ACK_REFUSALS = [
    ("INVALID_REQUEST", []),
    ("INVALID_REQUEST", [("own", 1)] * 1001),
    ("INVALID_REQUEST", [("own", -1)]),
    ("INVALID_REQUEST", [("a:b:c", 1)]),
    ("ACK_BEYOND_DELIVERED", [("acked", 3)]),
    ("CONVERSATION_NOT_FOUND", [("foreign", 1)]),
    ("CONVERSATION_NOT_FOUND", [("nosuchgroup", 1)]),
]


@pytest.mark.parametrize(("reason", "positions"), ACK_REFUSALS)
async def test_each_refusal_of_an_ack_has_the_same_status_by_call_and_by_frame(scene: Scene, reason, positions) -> None:
    wanted = [chat_pb2.Position(conversation_id=scene.ids.get(name, name), seq=seq) for name, seq in positions]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await scene.alice.call("Ack", chat_pb2.AckRequest(positions=wanted))
    status = status_of(caught.value)
    assert reason_of(status) == reason
    number = await scene.stream.write(ack=chat_pb2.AckFrame(positions=wanted))
    await scene.stream.refused(number)
    (error,) = [one for one in scene.stream.errors if one.correlation_id == number]
    assert error.error == status


READ_REFUSALS = [("CURSOR_BEYOND_END", "acked", 9), ("CONVERSATION_NOT_FOUND", "foreign", 1)]


@pytest.mark.parametrize(("reason", "place", "seq"), READ_REFUSALS)
async def test_each_refusal_of_a_read_position_has_the_same_status_and_the_others_of_the_frame_move(
    scene: Scene, reason, place, seq
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await scene.alice.call("MarkRead", conversation_pb2.MarkReadRequest(conversation_id=scene.ids[place], seq=seq))
    status = status_of(caught.value)
    assert reason_of(status) == reason
    fresh = await scene.alice.make_group()
    await scene.alice.send(fresh, "unread")
    positions = [
        chat_pb2.Position(conversation_id=name, seq=nth) for name, nth in ((scene.ids[place], seq), (fresh, 1))
    ]
    number = await scene.stream.write(read=chat_pb2.ReadFrame(positions=positions))
    await scene.stream.refused(number)
    (error,) = [one for one in scene.stream.errors if one.correlation_id == number]
    assert error.error == status

    async def is_moved() -> bool:
        request = conversation_pb2.GetConversationRequest(conversation_id=fresh)
        return bool((await scene.alice.call("GetConversation", request)).conversation.read_seq == 1)

    await wait_for(is_moved, what="the other position")


async def test_token_of_another_user_is_refused_and_the_stream_goes_on(scene: Scene, server: RunningServer) -> None:
    async with registered(server.target) as mallory:
        number = await scene.stream.write(authenticate=chat_pb2.Authenticate(access_token=mallory.token))
        assert await scene.stream.refused(number) == "TOKEN_INVALID"
        (result,) = await scene.stream.send(scene.request("own", {}))
        assert result.HasField("accepted")
