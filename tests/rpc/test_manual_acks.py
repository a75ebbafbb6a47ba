"""Manual acks on a real server with two workers: each message is acked, nacked, or comes again after its deadline."""

import asyncio
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from parley.v1 import chat_pb2, conversation_pb2

from tests.support.manual import (
    ack,
    attempts,
    fed,
    half_close,
    manual,
    nack,
    send_many,
    until_dead,
)
from tests.support.people import Person, Stream, reason_of, refusal, registered
from tests.support.servers import RunningServer
from tests.support.waiting import wait_for


async def count(stream: Stream, group: str, wanted: int) -> list[tuple[int, int]]:
    """Waits until so many messages came; gives their seqs and attempts."""
    await stream.until(lambda: len(stream.seqs(group)) >= wanted, f"{wanted} messages")
    return attempts(stream, group)


async def test_each_ack_settles_one_message_and_the_rest_comes_to_the_next_stream(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        await send_many(alice, group, 3)
        async with bob.chat(**manual()) as stream:
            assert await count(stream, group, 3) == [(1, 1), (2, 1), (3, 1)]
            await ack(stream, group, 2)
            await alice.send(group, "live")
            assert await count(stream, group, 4) == [(1, 1), (2, 1), (3, 1), (4, 1)]
            assert not stream.caught_up
            await half_close(stream)
            assert not stream.errors
        async with bob.chat(**manual()) as stream:
            # A clean end does not count as an attempt.
            assert sorted(await count(stream, group, 3)) == [(1, 1), (3, 1), (4, 1)]
            await ack(stream, group, 1, 3, 4)
            await half_close(stream)
        async with bob.chat(**manual()) as stream:
            await alice.send(group, "last")
            assert await count(stream, group, 1) == [(5, 1)]


async def test_message_that_is_nacked_to_the_end_is_a_dead_letter_and_the_others_go_on(quick: RunningServer) -> None:
    async with fed(quick, 2) as (_, bob, group, stream):
        await count(stream, group, 2)
        for attempt in (1, 2, 3):
            await stream.until(lambda a=attempt: (1, a) in attempts(stream, group), f"attempt {attempt}")
            await nack(stream, group, 1, reason=f"failure {attempt}")
        (letter,) = await until_dead(bob)
        assert (letter.message.seq, letter.attempts, letter.last_reason) == (1, 3, "failure 3")
        assert attempts(stream, group) == [(1, 1), (2, 1), (1, 2), (1, 3)]
        assert not stream.errors
        number = await ack(stream, group, 1)
        assert await stream.refused(number) == "DELIVERY_NOT_HELD"


async def test_what_is_not_acked_by_its_deadline_comes_again_and_is_a_dead_letter_at_last(quick: RunningServer) -> None:
    async with fed(quick, 2, ack_deadline=None) as (_, bob, group, stream):
        await count(stream, group, 2)
        await ack(stream, group, 2)
        (letter,) = await until_dead(bob)
        assert attempts(stream, group) == [(1, 1), (2, 1), (1, 2), (1, 3)]
        assert (letter.attempts, letter.last_reason) == (3, "The ack deadline passed.")


async def test_late_ack_counts_while_the_message_is_unsettled(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        await alice.send(group, "slow work")
        async with bob.chat(**manual(ack_deadline=None)) as stream:
            await count(stream, group, 2)  # the deadline of the first attempt has passed
            await ack(stream, group, 1)
            await ack(stream, group, 1)  # a repeat has no effect
            await alice.send(group, "fence")
            await stream.until(lambda: (2, 1) in attempts(stream, group), "the next message")
            await ack(stream, group, 2)
            await half_close(stream)
            assert not stream.errors
        async with bob.chat(**manual()) as stream:
            await alice.send(group, "only this")
            assert await count(stream, group, 1) == [(3, 1)]


async def test_nack_can_say_when_the_message_comes_again(quick: RunningServer) -> None:
    async with fed(quick, 3) as (_, _, group, stream):
        await count(stream, group, 3)
        await nack(stream, group, 1, retry_delay=Duration(seconds=3600))
        await nack(stream, group, 2)
        await nack(stream, group, 3, retry_delay=Duration())
        await count(stream, group, 5)
        assert attempts(stream, group)[3:] == [(3, 2), (2, 2)]


async def test_attempt_of_a_stream_that_breaks_off_counts_and_its_messages_come_at_once(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        await alice.send(group, "it ends its reader")
        for attempt in (1, 2, 3):
            async with bob.chat(**manual()) as stream:
                assert await count(stream, group, 1) == [(1, attempt)]
        (letter,) = await until_dead(bob)
        assert (letter.attempts, letter.last_reason) == (3, "The stream broke off.")


async def test_own_messages_and_membership_entries_come_unless_no_echo_leaves_out_the_own(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        await bob.send(group, "own")
        await alice.send(group, "other")
        async with registered(quick.target) as carol:
            await alice.call(
                "AddMembers", conversation_pb2.AddMembersRequest(conversation_id=group, members=[carol.name])
            )
        async with bob.chat(device_id="all", **manual()) as stream:
            assert await count(stream, group, 3) == [(1, 1), (2, 1), (3, 1)]
            assert stream.messages[2].membership.members == [carol.name]
        async with bob.chat(device_id="others", **manual(no_echo=True)) as stream:
            assert await count(stream, group, 2) == [(2, 1), (3, 1)]
            await stream.say(group, "own, live")
            await alice.send(group, "other, live")
            assert await count(stream, group, 3) == [(2, 1), (3, 1), (5, 1)]


async def test_latest_holds_for_conversations_without_a_position(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        await send_many(alice, group, 3)
        async with bob.chat(**manual(start=chat_pb2.START_LATEST)) as stream:
            await alice.send(group, "live")
            assert await count(stream, group, 1) == [(4, 1)]
            await half_close(stream)
        await alice.send(group, "missed")
        async with bob.chat(**manual(start=chat_pb2.START_LATEST)) as stream:
            assert sorted(await count(stream, group, 2)) == [(4, 1), (5, 1)]


async def test_conversation_that_the_user_joins_comes_too_and_one_that_ends_comes_to_its_end(
    quick: RunningServer,
) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        async with bob.chat(**manual()) as stream:
            group = await alice.make_group(bob)
            await alice.send(group, "one")
            await count(stream, group, 1)
            remove = conversation_pb2.RemoveMembersRequest(conversation_id=group, members=[bob.name])
            await alice.call("RemoveMembers", remove)
            await alice.send(group, "secret")
            assert await count(stream, group, 2) == [(1, 1), (2, 1)]
            await nack(stream, group, 1)
            assert await count(stream, group, 3) == [(1, 1), (2, 1), (1, 2)]
            await ack(stream, group, 1, 2)
            own = f"{bob.name}:{bob.name}"
            await stream.say(own, "fence")
            await count(stream, own, 1)
            assert attempts(stream, group) == [(1, 1), (2, 1), (1, 2)]
            assert not stream.errors


async def test_what_is_unsettled_vanishes_with_its_conversation(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        await alice.send(group, "one")
        async with bob.chat(**manual(ack_deadline=None)) as stream:
            await count(stream, group, 1)
            await alice.call("DeleteConversation", conversation_pb2.DeleteConversationRequest(conversation_id=group))

            async def may_change() -> bool:
                """Nothing unsettled is left: then another stream may choose another mode."""
                async with bob.chat(hello=False) as other:
                    number = await other.write(hello=chat_pb2.Hello(device_id="phone"))
                    await other.until(lambda: other.welcomes or other.errors, "an answer")
                    return not other.errors or await other.refused(number) != "ACK_MODE_MISMATCH"

            await half_close(stream)
        await wait_for(may_change, what="another mode")


async def test_mode_is_fixed_while_a_stream_is_open_or_a_message_unsettled(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        await alice.send(group, "one")

        async def answer(**fields: Any) -> str:
            async with bob.chat(hello=False) as stream:
                number = await stream.write(hello=chat_pb2.Hello(**fields))
                await stream.until(lambda: stream.welcomes or stream.errors, "an answer")
                return "" if stream.welcomes else await stream.refused(number)

        async with bob.chat() as stream:
            await stream.until(lambda: stream.seqs(group) == [1], "one")
            assert await answer(**manual()) == "ACK_MODE_MISMATCH"
            assert await answer(device_id="another", **manual()) == ""
            number = await nack(stream, group, 1)
            assert await stream.refused(number) == "ACK_MODE_MISMATCH"
        async with bob.chat(**manual()) as stream:
            await count(stream, group, 1)
            assert await answer() == "ACK_MODE_MISMATCH"
            assert await answer(**manual(ordered=True)) == "ACK_MODE_MISMATCH"
            assert await answer(**manual(no_echo=True)) == "ACK_MODE_MISMATCH"
            await half_close(stream)
        assert await answer() == "ACK_MODE_MISMATCH"  # the message is unsettled
        async with bob.chat(**manual()) as stream:
            await count(stream, group, 1)
            await ack(stream, group, 1)
            await half_close(stream)
        async with bob.chat() as stream:
            await stream.until(lambda: stream.caught_up, "caught up")
            assert stream.seqs(group) == []


async def test_refused_hello_leaves_the_stream_as_it_was(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        async with bob.chat(**manual()), bob.chat(hello=False) as stream:
            number = await stream.write(hello=chat_pb2.Hello())
            assert await stream.refused(number) == "ACK_MODE_MISMATCH"
            await stream.hello(device_id="tablet")
            await alice.send(group, "one")
            await stream.until(lambda: stream.seqs(group) == [1], "one")
            assert attempts(stream, group) == [(1, 0)]
        async with bob.chat(device_id="desk"), bob.chat(hello=False) as stream:
            number = await stream.write(hello=chat_pb2.Hello(device_id="desk", **manual()))
            assert await stream.refused(number) == "ACK_MODE_MISMATCH"
            await stream.hello(device_id="other")
            await stream.until(lambda: stream.seqs(group) == [1], "one")


async def test_subscribe_and_the_unary_ack_work_too(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        await send_many(alice, group, 3)

        async def acknowledge(person: Person, seq: int) -> None:
            position = chat_pb2.Position(conversation_id=group, seq=seq)
            await person.call("Ack", chat_pb2.AckRequest(positions=[position]))

        request = chat_pb2.SubscribeRequest(hello=chat_pb2.Hello(**manual(ordered=True)))
        stream = Stream(bob.stub.Subscribe(request, metadata=bob.metadata))
        await stream.until(lambda: stream.seqs(group) == [1], "the head")
        await acknowledge(bob, 1)
        await stream.until(lambda: stream.seqs(group) == [1, 2], "the next one")
        async with refusal("ACK_BEYOND_DELIVERED"):
            await acknowledge(bob, 3)
        await acknowledge(bob, 1)
        await stream.close()


@pytest.mark.parametrize(
    ("hello", "field"),
    [
        ({"ordered": True}, "ordered"),
        ({"ack_deadline": Duration(seconds=5)}, "ack_deadline"),
        ({"ack_mode": 9}, "ack_mode"),
        (manual(ack_deadline=Duration(nanos=999_999_999)), "ack_deadline"),
        (manual(ack_deadline=Duration(seconds=3601)), "ack_deadline"),
        (manual(positions=[chat_pb2.Position(conversation_id="g", seq=1)]), "positions"),
    ],
)
async def test_bad_hellos_are_refused(quick: RunningServer, hello: dict[str, Any], field: str) -> None:
    async with registered(quick.target) as bob, bob.chat(hello=False) as stream:
        number = await stream.write(hello=chat_pb2.Hello(**hello))
        assert await stream.refused(number) == "INVALID_REQUEST"
        assert stream.errors[0].error.message.startswith(f"{field}:")
        await stream.hello()


def nacks(*elements: tuple[str, int, str], **fields: Any) -> dict[str, Any]:
    made = [chat_pb2.Nack(conversation_id=name, seq=seq, reason=reason, **fields) for name, seq, reason in elements]
    return {"nack": chat_pb2.NackFrame(nacks=made)}


def acks(*elements: tuple[str, int]) -> dict[str, Any]:
    made = [chat_pb2.Position(conversation_id=name, seq=seq) for name, seq in elements]
    return {"ack": chat_pb2.AckFrame(positions=made)}


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (nacks(), "INVALID_REQUEST"),
        (nacks(*[("GROUP", seq, "") for seq in range(1, 1002)]), "INVALID_REQUEST"),
        (nacks(("GROUP", -1, "")), "INVALID_REQUEST"),
        (nacks(("GROUP", 0, "")), "INVALID_REQUEST"),
        (nacks(("a:b:c", 1, "")), "INVALID_REQUEST"),
        (nacks(("GROUP", 1, "é" * 257)), "INVALID_REQUEST"),
        (nacks(("GROUP", 1, "a\0b")), "INVALID_REQUEST"),
        (nacks(("GROUP", 1, ""), retry_delay=Duration(seconds=-1)), "INVALID_REQUEST"),
        (nacks(("GROUP", 1, ""), retry_delay=Duration(seconds=3601)), "INVALID_REQUEST"),
        (nacks(("GROUP", 2, "")), "ACK_BEYOND_DELIVERED"),
        (nacks(("nosuchgroup", 1, "")), "CONVERSATION_NOT_FOUND"),
        (acks(), "INVALID_REQUEST"),
        (acks(*[("GROUP", seq) for seq in range(1, 1002)]), "INVALID_REQUEST"),
        (acks(("GROUP", -1)), "INVALID_REQUEST"),
        (acks(("GROUP", 2**63 - 1)), "ACK_BEYOND_DELIVERED"),
        (acks(("nosuchgroup", 1)), "CONVERSATION_NOT_FOUND"),
    ],
)
async def test_bad_acks_and_nacks_are_refused_and_change_nothing(
    quick: RunningServer, frame: dict[str, Any], reason: str
) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        await alice.send(group, "one")
        (payload,) = frame.values()
        for element in [*getattr(payload, "nacks", ()), *getattr(payload, "positions", ())]:
            element.conversation_id = element.conversation_id.replace("GROUP", group)
        async with bob.chat(**manual()) as stream:
            await count(stream, group, 1)
            assert await stream.refused(await stream.write(**frame)) == reason
            await half_close(stream)
        async with bob.chat(**manual()) as stream:
            assert await count(stream, group, 1) == [(1, 1)]
        for element in [*getattr(payload, "nacks", ()), *getattr(payload, "positions", ())]:
            element.conversation_id = element.conversation_id.replace(group, "GROUP")


async def test_nack_of_what_the_stream_does_not_hold_is_refused_and_the_others_of_its_frame_count(
    quick: RunningServer,
) -> None:
    async with fed(quick, 2) as (_, _, group, stream):
        await count(stream, group, 2)
        await ack(stream, group, 1)
        number = await nack(stream, group, 1, 2)
        assert await stream.refused(number) == "DELIVERY_NOT_HELD"
        await stream.until(lambda: (2, 2) in attempts(stream, group), "the second attempt")
        (error,) = stream.errors
        assert reason_of(error.error) == "DELIVERY_NOT_HELD"


async def test_many_acks_at_once_settle_all(quick: RunningServer) -> None:
    async with registered(quick.target) as alice, registered(quick.target) as bob:
        group = await alice.make_group(bob)
        await send_many(alice, group, 1500)
        async with bob.chat(**manual()) as stream:
            done = 0
            async with asyncio.timeout(20):
                while done < 1500:
                    await count(stream, group, done + 1)
                    seqs = stream.seqs(group)
                    await ack(stream, group, *seqs[done:])
                    done = len(seqs)
            assert stream.seqs(group) == list(range(1, 1501))
            await half_close(stream)
            assert not stream.errors
        async with bob.chat(**manual()) as stream:
            await alice.send(group, "last")
            assert await count(stream, group, 1) == [(1501, 1)]
