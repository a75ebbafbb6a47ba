"""Send and BatchSend, over the wire."""

import asyncio

import grpc
import pytest
from parley.v1 import account_pb2, conversation_pb2, message_pb2

from tests.support.people import connected, fresh_name, reason_of, refusal, registered
from tests.support.servers import RunningServer


async def test_send_gives_dense_seqs_and_never_falling_times(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        direct = ":".join(sorted([alice.name, bob.name]))
        first = await alice.send(f"{bob.name}:{alice.name}", "one")
        second = await bob.send(direct, "two")
    assert first.message.conversation_id == direct
    assert [first.message.seq, second.message.seq] == [1, 2]
    assert first.message.sender == alice.name
    assert first.message.WhichOneof("entry") == "message"
    assert first.message.create_time.ToNanoseconds() <= second.message.create_time.ToNanoseconds()
    assert not first.deduplicated


async def test_repeat_by_any_call_gives_the_first_answer(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        direct = f"{alice.name}:{bob.name}"
        request = message_pb2.SendRequest(
            conversation_id=direct, text="once", request_id="r1", attributes={"a": "1", "b": "2"}, mentions=[bob.name]
        )
        first = await alice.call("Send", request)
        again = await alice.call("Send", request)
        batch = await alice.call("BatchSend", message_pb2.BatchSendRequest(requests=[request, request]))
        async with alice.chat() as stream:
            (result,) = await stream.send(request)
        page = await alice.pull(direct)
    assert again.deduplicated
    assert again.message == first.message
    for accepted in (batch.results[0].accepted, batch.results[1].accepted, result.accepted):
        assert (accepted.seq, accepted.create_time) == (1, first.message.create_time)
        assert accepted.deduplicated
    assert [message.text for message in page.messages] == ["once"]


async def test_request_id_with_another_content_is_refused_and_stores_nothing(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        direct = f"{alice.name}:{bob.name}"
        await alice.send(direct, "one", request_id="r")
        async with refusal("REQUEST_ID_REUSED", grpc.StatusCode.ALREADY_EXISTS):
            await alice.send(direct, "two", request_id="r")
        # Another sender's ids are its own.
        assert (await bob.send(direct, "two", request_id="r")).message.seq == 2


async def test_batch_gives_each_its_outcome_and_refusals_leave_no_hole(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        direct = f"{alice.name}:{bob.name}"
        requests = [
            message_pb2.SendRequest(conversation_id=direct, text="one"),
            message_pb2.SendRequest(conversation_id=direct),
            message_pb2.SendRequest(conversation_id="nosuchgroup", text="lost"),
            message_pb2.SendRequest(conversation_id=direct, text="answer", reply_to_seq=99),
            message_pb2.SendRequest(conversation_id=direct, text="two", request_id="x"),
            message_pb2.SendRequest(conversation_id=direct, text="other", request_id="x"),
            message_pb2.SendRequest(conversation_id=direct, text="three"),
        ]
        response = await alice.call("BatchSend", message_pb2.BatchSendRequest(requests=requests))
    seen = [
        result.accepted.seq if result.HasField("accepted") else reason_of(result.error) for result in response.results
    ]
    assert seen == [1, "INVALID_REQUEST", "CONVERSATION_NOT_FOUND", "REPLY_NOT_FOUND", 2, "REQUEST_ID_REUSED", 3]
    assert [result.index for result in response.results] == list(range(7))


async def test_concurrent_sends_of_many_users_are_dense(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        sends = [sender.send(group, f"{n}") for n in range(50) for sender in (alice, bob)]
        answers = await asyncio.gather(*sends)
    assert sorted(answer.message.seq for answer in answers) == list(range(1, 101))


async def test_duplicate_storm_over_both_workers_has_one_effect(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        direct = f"{alice.name}:{bob.name}"
        request = message_pb2.SendRequest(conversation_id=direct, text="storm", request_id="same")

        async def once() -> message_pb2.SendResponse:
            # A connection of its own may land on either worker.
            async with connected(server.target) as stub:
                return await stub.Send(request, metadata=alice.metadata, timeout=20)

        answers = await asyncio.gather(*(once() for _ in range(40)))
        page = await bob.pull(direct)
    assert {answer.message.seq for answer in answers} == {1}
    assert [answer.deduplicated for answer in answers].count(False) == 1
    assert len(page.messages) == 1


async def test_notes_to_self_are_a_conversation(server: RunningServer) -> None:
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        assert (await alice.send(own, "buy milk")).message.seq == 1
        assert [message.text for message in (await alice.pull(own)).messages] == ["buy milk"]


async def test_first_send_to_an_unknown_user_is_refused(server: RunningServer) -> None:
    async with registered(server.target) as alice:
        async with refusal("USER_NOT_FOUND", grpc.StatusCode.NOT_FOUND):
            await alice.send(f"{alice.name}:{fresh_name()}", "anybody there?")


async def test_conversation_of_others_looks_absent(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob, registered(server.target) as eve:
        direct = f"{alice.name}:{bob.name}"
        await alice.send(direct, "psst")
        group = await alice.make_group(bob)
        for conversation_id in (direct, group, "absent"):
            async with refusal("CONVERSATION_NOT_FOUND", grpc.StatusCode.NOT_FOUND):
                await eve.send(conversation_id, "let me in")
            async with refusal("CONVERSATION_NOT_FOUND", grpc.StatusCode.NOT_FOUND):
                await eve.pull(conversation_id)


async def test_reader_may_not_send_but_pulls(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        await alice.send(group, "news")
        await alice.call(
            "UpdateMember",
            conversation_pb2.UpdateMemberRequest(
                conversation_id=group, username=bob.name, role=message_pb2.MEMBER_ROLE_READER
            ),
        )
        async with refusal("ROLE_TOO_LOW", grpc.StatusCode.PERMISSION_DENIED):
            await bob.send(group, "may I?")
        assert len((await bob.pull(group)).messages) == 2


async def test_repeat_after_removal_still_learns_that_it_took_effect(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        await bob.send(group, "mine", request_id="b1")
        await alice.call(
            "RemoveMembers", conversation_pb2.RemoveMembersRequest(conversation_id=group, members=[bob.name])
        )
        again = await bob.send(group, "mine", request_id="b1")
        assert again.deduplicated
        assert again.message.seq == 1
        async with refusal("CONVERSATION_NOT_FOUND"):
            await bob.send(group, "more")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"text": ""}, "INVALID_REQUEST"),
        ({"text": "x" * 16_385}, "MESSAGE_TOO_LARGE"),
        ({"text": "é" * 8_193}, "MESSAGE_TOO_LARGE"),
        ({"text": "a\0b"}, "INVALID_REQUEST"),
        ({"text": "x", "request_id": "r" * 65}, "INVALID_REQUEST"),
        ({"text": "x", "request_id": "r\0"}, "INVALID_REQUEST"),
        ({"text": "x", "data": b"1"}, "INVALID_REQUEST"),
        ({"text": "x", "content_type": "text/plain"}, "INVALID_REQUEST"),
        ({"data": b"x" * 66_000, "content_type": "a/b"}, "MESSAGE_TOO_LARGE"),
        ({"text": "x", "reply_to_seq": -1}, "INVALID_REQUEST"),
        ({"text": "x", "reply_to_seq": 2**62}, "REPLY_NOT_FOUND"),
        ({"text": "x", "attributes": {"": "v"}}, "INVALID_REQUEST"),
        ({"text": "x", "attributes": {"k\0": "v"}}, "INVALID_REQUEST"),
        ({"text": "x", "attributes": {"k": "v\0"}}, "INVALID_REQUEST"),
        ({"text": "x", "attributes": {str(n): "v" for n in range(33)}}, "INVALID_REQUEST"),
        ({"text": "x", "mentions": ["Not A Name"]}, "INVALID_REQUEST"),
        ({"text": "x", "attachments": [message_pb2.Attachment()]}, "INVALID_REQUEST"),
        ({"text": "x", "attachments": [message_pb2.Attachment(uri="u", size_bytes=-1)]}, "INVALID_REQUEST"),
    ],
)
async def test_bad_content_is_refused(server: RunningServer, fields: dict[str, object], reason: str) -> None:
    async with registered(server.target) as alice:
        request = message_pb2.SendRequest(conversation_id=f"{alice.name}:{alice.name}", **fields)
        async with refusal(reason, grpc.StatusCode.NOT_FOUND if "NOT_FOUND" in reason else None):
            await alice.call("Send", request)
        assert (await alice.send(f"{alice.name}:{alice.name}", "still here")).message.seq == 1


@pytest.mark.parametrize(
    "conversation_id",
    ["", ":", "alice:", ":alice", "a:b:c", "alice bob", "Group", "x" * 10_000, "alice:" + "b" * 10_000, "ali\0ce:bob"],
)
async def test_malformed_conversation_id_is_refused(server: RunningServer, conversation_id: str) -> None:
    async with registered(server.target) as alice:
        async with refusal("INVALID_REQUEST", grpc.StatusCode.INVALID_ARGUMENT):
            await alice.send(conversation_id, "x")


async def test_largest_message_fits(server: RunningServer) -> None:
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        sent = await alice.send(own, "x" * 16_384, data=b"d" * 48_000, content_type="application/octet-stream")
        (message,) = (await alice.pull(own)).messages
        assert message == sent.message


async def test_everything_that_a_message_may_hold_comes_back(server: RunningServer) -> None:
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        await alice.send(own, "first")
        sent = await alice.send(
            own,
            "naïve ✓ \U0001f600",
            attachments=[message_pb2.Attachment(uri="https://a/b", media_type="image/png", size_bytes=3, name="b")],
            mentions=[alice.name],
            attributes={"kind": "test"},
            reply_to_seq=1,
        )
        assert (await alice.pull(own)).messages[1] == sent.message


async def test_batch_must_have_1_to_500(server: RunningServer) -> None:
    async with registered(server.target) as alice:
        one = message_pb2.SendRequest(conversation_id=f"{alice.name}:{alice.name}", text="x")
        for count in (0, 501):
            async with refusal("INVALID_REQUEST"):
                await alice.call("BatchSend", message_pb2.BatchSendRequest(requests=[one] * count))


async def test_invalid_utf8_is_a_clear_refusal(server: RunningServer) -> None:
    async with registered(server.target) as alice:
        raw = alice.channel.unary_unary("/parley.v1.ChatService/Send")
        async with refusal("INVALID_REQUEST", grpc.StatusCode.INVALID_ARGUMENT):
            await raw(b"\x12\x02\xff\xfe", metadata=alice.metadata, timeout=20)


async def test_send_whose_deadline_passed_has_one_effect_when_it_is_repeated(server: RunningServer) -> None:
    """Whether the first one was stored the caller can not know; what is late in the server the lane refuses."""
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        request = message_pb2.SendRequest(conversation_id=own, text="too late", request_id="once")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await alice.stub.Send(request, metadata=alice.metadata, timeout=1e-6)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await alice.send(own, "too late", request_id="once")).message.seq == 1
        assert (await alice.send(own, "in time")).message.seq == 2


async def test_deleted_user_can_not_be_written_to(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        await bob.call("DeleteAccount", account_pb2.DeleteAccountRequest(password="correct horse battery"))
        async with refusal("USER_NOT_FOUND"):
            await alice.send(f"{alice.name}:{bob.name}", "hello?")
