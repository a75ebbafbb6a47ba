"""Streams of one device share its messages, whichever of the two workers they are on; and what `ordered` keeps."""

import asyncio

from google.protobuf.duration_pb2 import Duration

from tests.support.manual import ack, attempts, group_of, half_close, manual, nack, send_many, until_dead
from tests.support.people import Stream, registered
from tests.support.servers import RunningServer
from tests.support.waiting import wait_for


def all_seqs(streams: list[Stream], group: str) -> list[int]:
    return sorted(seq for stream in streams for seq in stream.seqs(group))


async def work(streams: list[Stream], group: str, total: int) -> None:
    """Acks all that comes, on the stream on which it came, until so many came."""
    done = dict.fromkeys(range(len(streams)), 0)
    async with asyncio.timeout(30):
        while sum(done.values()) < total:
            for number, stream in enumerate(streams):
                seqs = stream.seqs(group)[done[number] :]
                if seqs:
                    await ack(stream, group, *seqs)
                    done[number] += len(seqs)
            await asyncio.sleep(0)


async def test_each_message_comes_to_one_of_the_streams_and_each_stream_gets_some(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        await send_many(alice, group, 2000)
        async with group_of(quick, bob, 4) as streams:
            working = asyncio.create_task(work(streams, group, 2200))
            await send_many(alice, group, 200)
            await working
            assert all_seqs(streams, group) == list(range(1, 2201))
            assert all(stream.seqs(group) for stream in streams)
            assert {attempt for stream in streams for _, attempt in attempts(stream, group)} == {1}
            assert not [error for stream in streams for error in stream.errors]


async def test_what_a_stream_held_goes_to_the_others_at_its_end(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        async with group_of(quick, bob, 4) as streams:
            await send_many(alice, group, 40)
            await wait_for(lambda: len(all_seqs(streams, group)) == 40, what="all")
            one = next(stream for stream in streams if stream.seqs(group))
            others = [stream for stream in streams if stream is not one]
            held = set(one.seqs(group))
            await half_close(one)
            await wait_for(lambda: held <= set(all_seqs(others, group)), what="what the first one held")
            assert {attempt for stream in others for _, attempt in attempts(stream, group)} == {1}
            two = next(stream for stream in others if stream.seqs(group))
            others.remove(two)
            held = set(two.seqs(group))
            await two.close()
            await wait_for(lambda: held <= set(all_seqs(others, group)), what="what the second one held")
            again = {pair for stream in others for pair in attempts(stream, group) if pair[1] == 2}
            assert {seq for seq, _ in again} == held


async def test_what_one_stream_nacks_can_come_to_another(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        async with group_of(quick, bob, 2) as streams:
            await send_many(alice, group, 20)
            await wait_for(lambda: len(all_seqs(streams, group)) == 20, what="all")
            for stream in streams:
                if seqs := stream.seqs(group):
                    await nack(stream, group, *seqs)
            await wait_for(lambda: len(all_seqs(streams, group)) == 40, what="all again")
            again = [pair for stream in streams for pair in attempts(stream, group) if pair[1] == 2]
            assert sorted(seq for seq, _ in again) == list(range(1, 21))


async def test_a_device_has_a_thousand_unsettled_and_a_stream_a_quarter_of_them(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        await send_many(alice, group, 1300)
        async with group_of(quick, bob, 1) as (stream,):
            await stream.until(lambda: len(stream.seqs(group)) == 250, "a stream's share")
            await ack(stream, group, 1, 2, 3)
            await stream.until(lambda: len(stream.seqs(group)) == 253, "three more")
            assert stream.seqs(group) == list(range(1, 254))
            async with group_of(quick, bob, 4) as others:
                await wait_for(lambda: len(all_seqs([stream, *others], group)) == 1003, what="a device's share")
                await ack(stream, group, 4, 5)
                await wait_for(lambda: len(all_seqs([stream, *others], group)) == 1005, what="two more")
                assert all_seqs([stream, *others], group) == list(range(1, 1006))


async def test_without_order_one_poisoned_message_holds_up_nothing(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        async with bob.chat(**manual()) as stream:
            await alice.send(group, "poison")
            await stream.until(lambda: stream.seqs(group) == [1], "the poison")
            await nack(stream, group, 1, retry_delay=Duration(seconds=3600))
            await send_many(alice, group, 600)
            await work([stream], group, 601)
            assert stream.seqs(group) == list(range(1, 602))


async def test_with_order_a_conversation_waits_for_its_head_and_others_do_not(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        first, second = await alice.make_group(bob), await alice.make_group(bob)
        for group in (first, second):
            await send_many(alice, group, 4)
        async with bob.chat(**manual(ordered=True)) as stream:
            await stream.until(lambda: stream.seqs(first) == [1] and stream.seqs(second) == [1], "both heads")
            for seq in (1, 2, 3, 4):
                await stream.until(lambda s=seq: stream.seqs(second)[-1] == s, f"{seq}")
                await ack(stream, second, seq)
            await alice.send(second, "fence")
            await stream.until(lambda: stream.seqs(second) == [1, 2, 3, 4, 5], "the fence")
            assert attempts(stream, first) == [(1, 1)]
            # Poisoned to the end: then the next one's turn comes.
            for attempt in (1, 2, 3):
                await stream.until(lambda a=attempt: attempts(stream, first)[-1] == (1, a), f"attempt {attempt}")
                await nack(stream, first, 1)
            await stream.until(lambda: attempts(stream, first)[-1] == (2, 1), "the next one")
            assert attempts(stream, first) == [(1, 1), (1, 2), (1, 3), (2, 1)]
            (letter,) = await until_dead(bob)
            assert letter.message.seq == 1


async def test_with_order_several_streams_keep_it(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        groups = [await alice.make_group(bob) for _ in range(6)]
        for group in groups:
            await send_many(alice, group, 12)
        came: dict[str, list[int]] = {group: [] for group in groups}
        async with group_of(quick, bob, 3, ordered=True) as streams:
            taken = [0, 0, 0]

            async def take_and_ack() -> bool:
                for number, stream in enumerate(streams):
                    for message in stream.messages[taken[number] :]:
                        taken[number] += 1
                        came[message.conversation_id].append(message.seq)
                        await ack(stream, message.conversation_id, message.seq)
                return sum(taken) == 72

            await wait_for(take_and_ack, what="all", limit_seconds=40)
        assert all(seqs == list(range(1, 13)) for seqs in came.values()), came
