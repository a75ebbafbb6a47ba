"""The Chat stream: sessions, sends, live delivery, what is refused, and how streams end."""

import asyncio

import grpc
from google.protobuf.duration_pb2 import Duration
from parley.v1 import account_pb2, chat_pb2, conversation_pb2, message_pb2, presence_pb2

from tests.support.people import PASSWORD, Stream, connected, reason_of, registered
from tests.support.servers import RunningServer


def request(conversation_id: str, text: str, request_id: str = "") -> message_pb2.SendRequest:
    return message_pb2.SendRequest(conversation_id=conversation_id, text=text, request_id=request_id)


async def test_welcome_says_who_and_where(server: RunningServer) -> None:
    async with registered(server.target, device_id="phone") as alice, alice.chat() as stream:
        welcome = stream.welcomes[0]
        assert (welcome.username, welcome.device_id, welcome.correlation_id) == (alice.name, "phone", 1)
        assert welcome.epoch == 1
        assert welcome.conversation_count == 0
        await stream.until(lambda: stream.caught_up, "caught up")
        assert [(mark.conversation_id, mark.complete) for mark in stream.caught_up] == [("", True)]


async def test_message_reaches_every_device_of_every_member_in_order(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        async with (
            alice.chat() as sender,
            alice.chat(device_id="tablet") as tablet,
            bob.chat() as bobs,
            # Connections of their own land on either worker.
            connected(server.target) as stub_1,
            connected(server.target) as stub_2,
            connected(server.target) as stub_3,
        ):
            others = [Stream(stub.Chat(metadata=bob.metadata)) for stub in (stub_1, stub_2, stub_3)]
            for number, other in enumerate(others):
                await other.hello(device_id=f"other-{number}")
            wanted = [f"text {number}" for number in range(60)]
            for start in range(0, 60, 20):
                results = await sender.send(*(request(group, text) for text in wanted[start : start + 20]))
                assert [result.accepted.seq for result in results] == list(range(start + 1, start + 21))
                assert [result.index for result in results] == list(range(20))
            for stream in (sender, tablet, bobs, *others):
                await stream.until(lambda stream=stream: len(stream.texts(group)) >= 60, "60 messages")
                assert stream.texts(group) == wanted
                assert stream.seqs(group) == list(range(1, 61))
                assert {message.sender for message in stream.messages} == {alice.name}
            for other in others:
                await other.close()


async def test_no_echo_leaves_out_own_sends_but_not_those_of_the_other_device(server: RunningServer) -> None:
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        await alice.send(own, "before")
        async with alice.chat(no_echo=True, start=chat_pb2.START_LATEST) as quiet, alice.chat(device_id="b") as loud:
            await quiet.say(own, "from quiet")
            await loud.say(own, "from loud")
            await loud.until(lambda: len(loud.texts(own)) == 3, "all")
            await quiet.until(lambda: quiet.texts(own), "the other device's")
            assert quiet.texts(own) == ["from loud"]


async def test_direct_conversation_made_while_connected_is_received_at_once(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        async with alice.chat() as a, bob.chat() as b:
            direct = ":".join(sorted([alice.name, bob.name]))
            assert await a.say(direct, "hello") == 1
            await b.until(lambda: b.texts(direct) == ["hello"], "the first message")
            await a.until(lambda: a.texts(direct) == ["hello"], "the echo")


async def test_user_added_while_connected_receives_from_the_entry_on(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        async with bob.chat() as stream:
            group = await alice.make_group()
            await alice.send(group, "before")
            await alice.call(
                "AddMembers", conversation_pb2.AddMembersRequest(conversation_id=group, members=[bob.name])
            )
            await stream.until(lambda: stream.seqs(group), "the entry")
            await alice.send(group, "after")
            await stream.until(lambda: len(stream.seqs(group)) == 2, "what came after")
            assert stream.seqs(group) == [2, 3]
            change = stream.messages[0].membership
            assert (change.action, list(change.members)) == (message_pb2.MembershipChange.ACTION_ADDED, [bob.name])


async def test_removed_user_gets_the_entry_and_nothing_above(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        async with bob.chat() as stream, alice.chat() as witness:
            await alice.send(group, "one")
            await alice.call(
                "RemoveMembers", conversation_pb2.RemoveMembersRequest(conversation_id=group, members=[bob.name])
            )
            await alice.send(group, "secret")
            await witness.until(lambda: len(witness.seqs(group)) == 3, "all at the other member")
            # A message on another conversation shows that nothing is still under way on this stream.
            await alice.send(f"{alice.name}:{bob.name}", "fence")
            await stream.until(lambda: "fence" in [message.text for message in stream.messages], "the fence")
            assert stream.seqs(group) == [1, 2]
            assert stream.messages[1].membership.action == message_pb2.MembershipChange.ACTION_REMOVED
            page = await bob.pull(group)
            assert [message.seq for message in page.messages] == [1, 2]


async def test_user_added_again_receives_again(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        async with bob.chat() as stream:
            for _ in range(3):
                for verb, kind in (("RemoveMembers", "Remove"), ("AddMembers", "Add")):
                    message = getattr(conversation_pb2, f"{kind}MembersRequest")
                    await alice.call(verb, message(conversation_id=group, members=[bob.name]))
            sent = await alice.send(group, "here again")
            await stream.until(lambda: sent.message.seq in stream.seqs(group), "the message")
            assert stream.seqs(group) == sorted(set(stream.seqs(group)))


async def test_refused_frames_leave_the_stream_open(server: RunningServer) -> None:
    async with registered(server.target) as alice, alice.chat(hello=False) as stream:
        own = f"{alice.name}:{alice.name}"
        number = await stream.write(send=chat_pb2.SendFrame(requests=[request(own, "too early")]))
        assert await stream.refused(number) == "OUT_OF_ORDER"
        await stream.hello()
        assert await stream.refused(await stream.write(hello=chat_pb2.Hello())) == "OUT_OF_ORDER"
        assert await stream.refused(await stream.write()) == "UNKNOWN_PAYLOAD"
        assert await stream.refused(await stream.write(send=chat_pb2.SendFrame())) == "INVALID_REQUEST"
        ack = chat_pb2.AckFrame(positions=[chat_pb2.Position(conversation_id="nogroup", seq=1)])
        assert await stream.refused(await stream.write(ack=ack)) == "CONVERSATION_NOT_FOUND"
        typing = chat_pb2.TypingFrame(conversation_id="nogroup", active=True)
        assert await stream.refused(await stream.write(typing=typing)) == "CONVERSATION_NOT_FOUND"
        watch = chat_pb2.WatchPresence(usernames=["x"] * 501)
        assert await stream.refused(await stream.write(watch_presence=watch)) == "INVALID_REQUEST"
        assert await stream.say(own, "still open") == 1


async def test_unknown_arm_and_garbage_are_in_stream_errors(server: RunningServer) -> None:
    async with registered(server.target) as alice:
        call = alice.channel.stream_stream("/parley.v1.ChatService/Chat")(metadata=alice.metadata)
        await call.write(b"\x08\x07\xa2\x1f\x00")  # correlation_id 7, field 500
        frame = chat_pb2.ChatResponse.FromString(await call.read())
        assert (frame.errors[0].correlation_id, reason_of(frame.errors[0].error)) == (7, "UNKNOWN_PAYLOAD")
        await call.write(b"\xff\xff\xff")
        frame = chat_pb2.ChatResponse.FromString(await call.read())
        assert reason_of(frame.errors[0].error) == "INVALID_REQUEST"
        await call.write(chat_pb2.ChatRequest(correlation_id=9, hello=chat_pb2.Hello()).SerializeToString())
        frame = chat_pb2.ChatResponse.FromString(await call.read())
        assert frame.welcomes[0].correlation_id == 9
        call.cancel()


async def test_bad_hello_is_refused_and_a_good_one_may_follow(server: RunningServer) -> None:
    bad = [
        chat_pb2.Hello(device_id="with\nbreak"),
        chat_pb2.Hello(device_id="d" * 65),
        chat_pb2.Hello(heartbeat=Duration(seconds=0)),
        chat_pb2.Hello(heartbeat=Duration(seconds=601)),
        chat_pb2.Hello(start=9),  # of a newer contract
        chat_pb2.Hello(positions=[chat_pb2.Position(conversation_id="a:b:c")]),
        chat_pb2.Hello(positions=[chat_pb2.Position(conversation_id="group", seq=-1)]),
    ]
    async with registered(server.target) as alice, alice.chat(hello=False) as stream:
        for hello in bad:
            assert await stream.refused(await stream.write(hello=hello)) == "INVALID_REQUEST"
        await stream.write(hello=chat_pb2.Hello())
        await stream.until(lambda: stream.welcomes, "welcome")


async def test_frame_above_the_limit_ends_the_stream_only(server: RunningServer) -> None:
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        async with alice.chat() as stream:
            await stream.write(send=chat_pb2.SendFrame(requests=[request(own, "x" * 5_000_000)]))
            assert await stream.end() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await alice.send(own, "next")).message.seq == 1


async def test_half_close_finishes_what_is_outstanding(server: RunningServer) -> None:
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        async with alice.chat() as stream:
            await stream.write(send=chat_pb2.SendFrame(requests=[request(own, str(n)) for n in range(100)]))
            await stream.call.done_writing()
            assert await stream.end() is grpc.StatusCode.OK
            assert [result.accepted.seq for result in stream.results] == list(range(1, 101))


async def test_what_was_acknowledged_does_not_come_again_however_soon_the_next_stream_begins(
    server: RunningServer,
) -> None:
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        for is_broken in (False, True, False, True):
            async with alice.chat() as stream:
                last_seq = await stream.say(own, "fence")
                await stream.until(lambda stream=stream, seq=last_seq: seq in stream.seqs(own), "the fence")
                assert stream.seqs(own) == [last_seq], "nothing came that was acknowledged"
                await stream.write(
                    ack=chat_pb2.AckFrame(positions=[chat_pb2.Position(conversation_id=own, seq=last_seq)])
                )
                if is_broken:
                    await stream.write(hello=chat_pb2.Hello())
                    await stream.until(lambda stream=stream: stream.errors, "the frame after the ack was read")
                else:
                    await stream.call.done_writing()
                    assert await stream.end() is grpc.StatusCode.OK


async def test_zero_correlation_id_answers_only_errors(server: RunningServer) -> None:
    async with registered(server.target) as alice, alice.chat() as stream:
        own = f"{alice.name}:{alice.name}"
        frame = chat_pb2.SendFrame(requests=[request(own, "silent"), request(own, "")])
        await stream.write(correlation_id=0, send=frame)
        await stream.until(lambda: stream.texts(own) and stream.results, "message and error")
        await stream.say(own, "fence")
        silent = [result for result in stream.results if result.correlation_id == 0]
        assert [(result.index, result.WhichOneof("outcome")) for result in silent] == [(1, "error")]


async def test_sends_of_one_stream_keep_their_order(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        async with alice.chat() as a, bob.chat() as b:
            for start in range(0, 500, 10):
                for stream, name in ((a, "a"), (b, "b")):
                    frame = chat_pb2.SendFrame(
                        requests=[request(group, f"{name}{n}") for n in range(start, start + 10)]
                    )
                    await stream.write(send=frame)
            await a.until(lambda: len(a.texts(group)) == 1000, "all", limit_seconds=30)
            assert a.seqs(group) == list(range(1, 1001))
            for name in "ab":
                mine = [text for text in a.texts(group) if text.startswith(name)]
                assert mine == [f"{name}{n}" for n in range(500)]


async def test_logout_ends_the_stream_at_once(server: RunningServer) -> None:
    async with registered(server.target) as alice, connected(server.target) as other, alice.chat() as stream:
        await other.Logout(account_pb2.LogoutRequest(refresh_token=alice.refresh_token))
        assert await stream.end(5) is grpc.StatusCode.UNAUTHENTICATED


async def test_password_change_ends_all_streams(server: RunningServer) -> None:
    async with registered(server.target) as alice, connected(server.target) as other:
        login = await other.Login(account_pb2.LoginRequest(username=alice.name, password=PASSWORD, device_id="b"))
        async with alice.chat() as first, alice.chat(token=login.access_token, device_id="b") as second:
            change = account_pb2.ChangePasswordRequest(old_password=PASSWORD, new_password="another password")
            fresh = await alice.call("ChangePassword", change)
            for stream in (first, second):
                assert await stream.end(5) is grpc.StatusCode.UNAUTHENTICATED
        async with alice.chat(token=fresh.access_token) as third:
            assert third.welcomes


async def test_heartbeats_come_as_asked_for(server: RunningServer) -> None:
    async with registered(server.target) as alice, alice.chat(heartbeat=Duration(seconds=1)) as stream:
        assert not stream.heartbeats, "none comes with the welcome, or before it"
        await stream.until(lambda: len(stream.heartbeats) >= 2, "two beats")


async def test_typing_reaches_the_others_and_not_oneself(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        async with alice.chat() as a, bob.chat() as b:
            await a.until(lambda: a.caught_up, "caught up")
            await b.until(lambda: b.caught_up, "caught up")
            await a.write(typing=chat_pb2.TypingFrame(conversation_id=group, active=True))
            await b.until(lambda: b.typing, "typing")
            assert b.typing[0] == presence_pb2.TypingEvent(conversation_id=group, username=alice.name, active=True)
            await a.write(typing=chat_pb2.TypingFrame(conversation_id=group, active=False))
            await b.until(lambda: len(b.typing) == 2, "stopped")
            await b.until(lambda: not b.typing[1].active, "stopped")
            assert not a.typing


async def test_read_frame_moves_the_read_position(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        for number in range(3):
            await alice.send(group, str(number))
        async with bob.chat() as stream:
            await stream.write(read=chat_pb2.ReadFrame(positions=[chat_pb2.Position(conversation_id=group, seq=2)]))
            beyond = chat_pb2.ReadFrame(positions=[chat_pb2.Position(conversation_id=group, seq=9)])
            assert await stream.refused(await stream.write(read=beyond)) == "CURSOR_BEYOND_END"
        got = await bob.call("GetConversation", conversation_pb2.GetConversationRequest(conversation_id=group))
        assert (got.conversation.read_seq, got.conversation.unread_count) == (2, 1)


async def test_stream_needs_a_token(server: RunningServer) -> None:
    async with connected(server.target) as stub:
        stream = Stream(stub.Chat()).start()
        assert await stream.end() is grpc.StatusCode.UNAUTHENTICATED


async def test_client_that_vanishes_leaves_nothing_behind(server: RunningServer) -> None:
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        for _ in range(20):
            async with alice.chat() as stream:
                await stream.write(send=chat_pb2.SendFrame(requests=[request(own, "x")]))
        await asyncio.gather(*(alice.send(own, "y") for _ in range(5)))
        async with alice.chat() as stream:
            assert stream.welcomes
