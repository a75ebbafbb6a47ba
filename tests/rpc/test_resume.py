"""Resume: from acks, from explicit positions, from now; on Chat and on Subscribe."""

import asyncio

import grpc
import pytest
from parley.v1 import chat_pb2, conversation_pb2, message_pb2

from tests.support.people import Person, Stream, reason_of, refusal, registered
from tests.support.servers import RunningServer
from tests.support.waiting import wait_for


async def complete(stream: Stream) -> None:
    await stream.until(lambda: any(mark.complete for mark in stream.caught_up), "complete", limit_seconds=20)


def position(conversation_id: str, seq: int) -> chat_pb2.Position:
    return chat_pb2.Position(conversation_id=conversation_id, seq=seq)


async def acked(person: Person, conversation_id: str, seq: int) -> None:
    """Waits until the device's ack is stored: a new stream then begins after it."""

    async def begins_after() -> bool:
        async with person.chat() as stream:
            await complete(stream)
            return not [got for got in stream.seqs(conversation_id) if got <= seq]

    await wait_for(begins_after, what="the ack")


async def test_what_was_missed_comes_once_and_then_live(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        async with bob.chat() as stream:
            await alice.send(group, "seen")
            await stream.until(lambda: stream.texts(group), "the first")
            await stream.write(ack=chat_pb2.AckFrame(positions=[position(group, 1)]))
            assert (
                await stream.refused(await stream.write(ack=chat_pb2.AckFrame(positions=[position(group, 2)])))
                == "ACK_BEYOND_DELIVERED"
            )
        await acked(bob, group, 1)
        for number in range(150):
            await alice.send(group, f"missed {number}")
        async with bob.chat() as stream:
            await complete(stream)
            assert stream.caught_up[-1].seq == 151
            await alice.send(group, "live")
            await stream.until(lambda: len(stream.seqs(group)) == 151, "all")
            assert stream.seqs(group) == list(range(2, 153))


async def test_no_ack_means_everything_again(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        await alice.send(group, "one")
        for _ in range(2):
            async with bob.chat() as stream:
                await complete(stream)
                assert stream.seqs(group) == [1]


async def test_ack_never_goes_back(server: RunningServer) -> None:
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        for number in range(3):
            await alice.send(own, str(number))
        for seq in (3, 1):
            await alice.call("Ack", chat_pb2.AckRequest(positions=[position(own, seq)]))
        async with alice.chat() as stream:
            await complete(stream)
            assert stream.seqs(own) == []


async def test_devices_are_apart_and_a_new_one_starts_at_the_read_position(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        for number in range(4):
            await alice.send(group, str(number))
        await bob.call("Ack", chat_pb2.AckRequest(positions=[position(group, 4)], device_id="phone"))
        await bob.call("MarkRead", conversation_pb2.MarkReadRequest(conversation_id=group, seq=2))
        async with bob.chat(device_id="tablet") as stream:
            await complete(stream)
            assert stream.seqs(group) == [3, 4]
        # Reading on elsewhere does not move a device that has begun.
        await bob.call("MarkRead", conversation_pb2.MarkReadRequest(conversation_id=group, seq=4))
        async with bob.chat(device_id="tablet") as stream:
            await complete(stream)
            assert stream.seqs(group) == [3, 4]


async def test_latest_starts_now_and_explicit_positions_are_taken_as_given(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        first, second = await alice.make_group(bob), await alice.make_group(bob)
        for group in (first, second):
            for number in range(3):
                await alice.send(group, str(number))
        async with bob.chat(start=chat_pb2.START_LATEST, positions=[position(second, 1)]) as stream:
            await complete(stream)
            assert (stream.seqs(first), stream.seqs(second)) == ([], [2, 3])
            await alice.send(first, "live")
            await stream.until(lambda: stream.seqs(first) == [4], "live")


async def test_position_beyond_the_end_gets_a_reset_and_begins_at_the_end(server: RunningServer) -> None:
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        await alice.send(own, "one")
        async with alice.chat(positions=[position(own, 7), position("nosuchgroup", 1)]) as stream:
            await stream.until(lambda: stream.errors and stream.resets, "a reset and an error")
            assert [reason_of(error.error) for error in stream.errors] == ["CONVERSATION_NOT_FOUND"]
            epoch = stream.welcomes[0].epoch
            assert stream.resets == [chat_pb2.Reset(conversation_id=own, seq=1, epoch=epoch)]
            await alice.send(own, "two")
            await stream.until(lambda: stream.seqs(own) == [2], "live")


async def test_caught_up_names_each_conversation_once(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        groups = [await alice.make_group(bob) for _ in range(40)]
        for group in groups[:35]:
            await alice.send(group, "x")
        async with bob.chat() as stream:
            await complete(stream)
            assert sorted(mark.conversation_id for mark in stream.caught_up) == sorted(groups)
            assert [mark.complete for mark in stream.caught_up].count(True) == 1
            assert stream.caught_up[-1].complete
            assert all(stream.seqs(group) == [1] for group in groups[:35])


async def test_no_seam_between_replay_and_live_under_load(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        stop = asyncio.Event()

        async def talk() -> int:
            last = 0
            async with alice.chat(start=chat_pb2.START_LATEST, no_echo=True) as stream:
                while not stop.is_set():
                    requests = [message_pb2.SendRequest(conversation_id=group, text="x") for _ in range(5)]
                    last = (await stream.send(*requests))[-1].accepted.seq
            return last

        talking = asyncio.create_task(talk())
        streams = []
        for number in range(8):
            async with bob.chat(device_id=f"d{number}") as stream:
                await complete(stream)
                await stream.until(
                    lambda stream=stream, number=number: stream.seqs(group)[-1:] > [30 * number], "some live ones"
                )
                streams.append(stream)
        stop.set()
        last = await talking
        for stream in streams:
            seqs = stream.seqs(group)
            assert seqs == list(range(1, len(seqs) + 1))
            assert len(seqs) <= last


async def test_large_backlog_comes_whole_through_a_bounded_buffer(server: RunningServer) -> None:
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        text = "x" * 16_000
        for start in range(0, 240, 12):
            requests = [
                message_pb2.SendRequest(conversation_id=own, text=f"{n} {text}") for n in range(start, start + 12)
            ]
            await alice.call("BatchSend", message_pb2.BatchSendRequest(requests=requests))
        async with alice.chat() as stream:
            await complete(stream)
            assert stream.seqs(own) == list(range(1, 241))


async def test_reader_that_stops_gets_everything_when_it_reads_on(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        lazy = bob.stub.Chat(metadata=bob.metadata)
        await lazy.write(chat_pb2.ChatRequest(correlation_id=1, hello=chat_pb2.Hello(device_id="lazy")))
        await lazy.read()
        async with alice.chat(start=chat_pb2.START_LATEST) as sender:
            for _ in range(60):  # 9.6 MB: more than transports and the stream's buffer hold, so that it lags
                requests = [message_pb2.SendRequest(conversation_id=group, text="y" * 8_000) for _ in range(20)]
                await sender.send(*requests)
        got: list[int] = []
        while len(got) < 1200:
            frame = await asyncio.wait_for(lazy.read(), 10)
            assert frame is not grpc.aio.EOF
            got += [message.seq for message in frame.messages]
        assert got == list(range(1, 1201))
        lazy.cancel()


async def test_removed_user_resumes_up_to_the_removal(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        await alice.send(group, "one")
        await alice.call(
            "RemoveMembers", conversation_pb2.RemoveMembersRequest(conversation_id=group, members=[bob.name])
        )
        await alice.send(group, "secret")
        async with bob.chat() as stream:
            await complete(stream)
            assert stream.seqs(group) == [1, 2]
            assert [(mark.conversation_id, mark.seq) for mark in stream.caught_up] == [(group, 2)]
            await stream.write(ack=chat_pb2.AckFrame(positions=[position(group, 2)]))
            await stream.say(f"{bob.name}:{bob.name}", "fence")
            assert not stream.errors


async def test_subscribe_receives_and_ack_moves_it(server: RunningServer) -> None:
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        await alice.send(own, "one")
        await alice.send(own, "two")

        async def subscribed() -> list[int]:
            stream = Stream(
                alice.stub.Subscribe(chat_pb2.SubscribeRequest(hello=chat_pb2.Hello()), metadata=alice.metadata)
            )
            await complete(stream.start())
            await stream.close()
            return stream.seqs(own)

        assert await subscribed() == [1, 2]
        await alice.call("Ack", chat_pb2.AckRequest(positions=[position(own, 1)]))
        assert await subscribed() == [2]


@pytest.mark.parametrize(
    ("positions", "reason"),
    [
        ([], "INVALID_REQUEST"),
        ([("own", -1)], "INVALID_REQUEST"),
        ([("own", 2)], "ACK_BEYOND_DELIVERED"),
        ([("nosuchgroup", 1)], "CONVERSATION_NOT_FOUND"),
        ([("a:b:c", 1)], "INVALID_REQUEST"),
    ],
)
async def test_bad_acks_are_refused(server: RunningServer, positions: list[tuple[str, int]], reason: str) -> None:
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        await alice.send(own, "one")
        wanted = [position(own if name == "own" else name, seq) for name, seq in positions]
        async with refusal(reason):
            await alice.call("Ack", chat_pb2.AckRequest(positions=wanted))


async def test_ack_of_what_an_earlier_stream_brought_is_taken_while_the_replay_runs(server: RunningServer) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        requests = [message_pb2.SendRequest(conversation_id=group, text=str(number)) for number in range(500)]
        await alice.call("BatchSend", message_pb2.BatchSendRequest(requests=requests))
        async with bob.chat() as stream:
            await stream.until(lambda: len(stream.seqs(group)) == 500, "all")
        # All at once, so that the ack is met while the replay runs.
        async with bob.chat(hello=False) as stream:
            await stream.write(hello=chat_pb2.Hello())
            await stream.write(ack=chat_pb2.AckFrame(positions=[position(group, 500)]))
            beyond = await stream.write(ack=chat_pb2.AckFrame(positions=[position(group, 501)]))
            assert await stream.refused(beyond) == "ACK_BEYOND_DELIVERED"
            assert len(stream.errors) == 1
        await acked(bob, group, 500)


@pytest.mark.parametrize("is_visible", [True, False])
@pytest.mark.parametrize("is_connected", [True, False])
async def test_one_who_comes_back_goes_on_after_what_the_device_has(
    server: RunningServer, is_visible: bool, is_connected: bool
) -> None:
    async with registered(server.target) as alice, registered(server.target) as bob:
        request = conversation_pb2.CreateConversationRequest(members=[bob.name], history_visible=is_visible)
        group = (await alice.call("CreateConversation", request)).conversation.conversation_id
        away = {"conversation_id": group, "members": [bob.name]}
        await alice.send(group, "both")
        async with bob.chat() as stream:
            await stream.until(lambda: stream.seqs(group) == [1], "what both saw")
            await alice.call("RemoveMembers", conversation_pb2.RemoveMembersRequest(**away))
            await stream.until(lambda: stream.seqs(group) == [1, 2], "the removal")
            if not is_connected:
                await stream.write(ack=chat_pb2.AckFrame(positions=[position(group, 2)]))
                await acked(bob, group, 2)
                await stream.close()
            await alice.send(group, "without bob")
            await alice.call("AddMembers", conversation_pb2.AddMembersRequest(**away))
            if is_connected:
                await stream.until(lambda: 4 in stream.seqs(group), "the return")
                assert stream.seqs(group) == ([1, 2, 3, 4] if is_visible else [1, 2, 4])
        if not is_connected:
            async with bob.chat() as stream:
                await complete(stream)
                assert stream.seqs(group) == ([3, 4] if is_visible else [4])
