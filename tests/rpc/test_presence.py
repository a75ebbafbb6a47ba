"""Presence over the wire: online while any device is, who may see it, what watchers are told."""

import time

import grpc
import pytest
from parley.v1 import chat_pb2, conversation_pb2, presence_pb2

from tests.support.people import Person, Stream, fresh_name, refusal, registered
from tests.support.servers import RunningServer
from tests.support.waiting import wait_for

ONLINE, OFFLINE = presence_pb2.PRESENCE_STATE_ONLINE, presence_pb2.PRESENCE_STATE_OFFLINE


async def presences(person: Person, *usernames: str) -> dict[str, presence_pb2.Presence]:
    request = presence_pb2.GetPresenceRequest(usernames=usernames)
    found = (await person.call("GetPresence", request)).presences
    return {one.username: one for one in found}


async def becomes(person: Person, username: str, state: int) -> presence_pb2.Presence:
    """Waits until a user is seen so."""

    async def seen() -> presence_pb2.Presence | None:
        one = (await presences(person, username))[username]
        return one if one.state == state else None

    found = await wait_for(seen, what=f"{username} to be {state}")
    assert found is not None
    return found


@pytest.fixture(scope="module", autouse=True)
async def settled(server: RunningServer) -> None:
    """Who is not online is unknown while the server has just started."""
    async with registered(server.target) as somebody:
        await becomes(somebody, somebody.name, OFFLINE)


def told(stream: Stream) -> list[tuple[str, int, int]]:
    return [(event.presence.username, event.presence.state, event.correlation_id) for event in stream.presence]


async def test_online_while_any_device_has_a_stream_open(server: RunningServer):
    async with registered(server.target) as alice, registered(server.target) as bob:
        await alice.send(f"{alice.name}:{bob.name}", "hello")
        never = (await presences(alice, bob.name))[bob.name]
        assert (never.state, never.HasField("last_seen_time")) == (OFFLINE, False)
        async with bob.chat(device_id="phone"):
            await becomes(alice, bob.name, ONLINE)
            async with bob.chat(device_id="phone"), bob.chat(device_id="tablet"):
                await becomes(alice, bob.name, ONLINE)
        seen = await becomes(alice, bob.name, OFFLINE)
        assert abs(seen.last_seen_time.seconds - time.time()) < 30


async def test_others_see_it_as_soon_as_the_stream_has_begun_and_has_ended(server: RunningServer):
    async with registered(server.target) as alice, registered(server.target) as bob:
        await alice.send(f"{alice.name}:{bob.name}", "hello")
        for _ in range(20):
            async with bob.chat() as stream:
                assert (await presences(alice, bob.name))[bob.name].state == ONLINE
                await stream.call.done_writing()
                assert await stream.end() is grpc.StatusCode.OK
                assert (await presences(alice, bob.name))[bob.name].state == OFFLINE


async def test_subscription_counts_as_a_device(server: RunningServer):
    async with registered(server.target) as alice:
        stream = Stream(alice.stub.Subscribe(chat_pb2.SubscribeRequest(), metadata=alice.metadata)).start()
        await becomes(alice, alice.name, ONLINE)
        await stream.close()
        await becomes(alice, alice.name, OFFLINE)


async def test_only_those_who_share_a_conversation_are_shown(server: RunningServer):
    async with (
        registered(server.target) as alice,
        registered(server.target) as bob,
        registered(server.target) as eve,
        eve.chat(),
    ):
        group = await alice.make_group(bob)
        names = [eve.name, bob.name.upper(), fresh_name(), alice.name, bob.name]
        assert list(await presences(alice, *names)) == [bob.name, alice.name]
        await eve.send(f"{eve.name}:{alice.name}", "hi")
        assert (await presences(alice, *names))[eve.name].state == ONLINE
        await alice.call(
            "RemoveMembers", conversation_pb2.RemoveMembersRequest(conversation_id=group, members=[bob.name])
        )
        assert list(await presences(alice, *names)) == [eve.name, alice.name]
        assert list(await presences(bob, alice.name)) == []


async def test_500_names_are_taken_and_501_refused(server: RunningServer):
    async with registered(server.target) as alice:
        names = [f"nobody{number}" for number in range(499)]
        assert list(await presences(alice, alice.name, *names)) == [alice.name]
        assert list(await presences(alice)) == []
        async with refusal("INVALID_REQUEST", grpc.StatusCode.INVALID_ARGUMENT):
            await presences(alice, *names, "one-more", "and-another")
        async with refusal("INVALID_REQUEST"):
            await presences(alice, "x")


async def test_watch_tells_states_and_then_changes(server: RunningServer):
    async with registered(server.target) as alice, registered(server.target) as bob, registered(server.target) as eve:
        await alice.make_group(bob)
        async with alice.chat() as watching:
            watch = chat_pb2.WatchPresence(usernames=[bob.name, eve.name, alice.name])
            number = await watching.write(watch_presence=watch)
            await watching.until(lambda: len(watching.presence) == 2, "the states")
            assert told(watching) == [(bob.name, OFFLINE, number), (alice.name, ONLINE, number)]
            async with bob.chat(device_id="a"):
                await watching.until(lambda: len(watching.presence) == 3, "online")
                # A second device changes nothing.
                async with bob.chat(device_id="b"), eve.chat():
                    pass
            await watching.until(lambda: len(watching.presence) == 4, "offline")
            assert told(watching)[2:] == [(bob.name, ONLINE, 0), (bob.name, OFFLINE, 0)]
            assert watching.presence[3].presence.HasField("last_seen_time")


async def test_watch_of_nobody_ends_the_one_before(server: RunningServer):
    async with registered(server.target) as alice, registered(server.target) as bob:
        await alice.send(f"{alice.name}:{bob.name}", "hello")
        async with alice.chat() as watching:
            await watching.write(watch_presence=chat_pb2.WatchPresence(usernames=[bob.name]))
            await watching.until(lambda: watching.presence, "the state")
            await watching.write(watch_presence=chat_pb2.WatchPresence())
            await watching.say(f"{alice.name}:{bob.name}", "fence: the frame before was read")
            async with bob.chat():
                await becomes(alice, bob.name, ONLINE)
                await bob.send(f"{alice.name}:{bob.name}", "a second fence")
                await watching.until(lambda: [one.text for one in watching.messages][-1] == "a second fence", "it")
            assert len(watching.presence) == 1


@pytest.mark.parametrize("usernames", [["x"], ["nobody"] * 501])
async def test_bad_watch_is_an_in_stream_error(server: RunningServer, usernames: list[str]):
    async with registered(server.target) as alice, alice.chat() as stream:
        number = await stream.write(watch_presence=chat_pb2.WatchPresence(usernames=usernames))
        assert await stream.refused(number) == "INVALID_REQUEST"
