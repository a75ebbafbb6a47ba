"""A stream lives as long as its token and its login do, and no longer."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable

import grpc
import pytest
from parley.v1 import account_pb2, chat_pb2, message_pb2, presence_pb2

from tests.support.people import PASSWORD, Person, Stream, reason_of, refusal, registered, status_of
from tests.support.servers import RunningServer
from tests.support.tokens import bad_tokens, mint, mint_with_new_key
from tests.support.waiting import wait_for


async def ended_with(stream: Stream, limit_seconds: float = 10.0) -> str:
    """Waits for the stream's end; gives the reason."""
    assert await stream.end(limit_seconds) is grpc.StatusCode.UNAUTHENTICATED
    assert stream.ending is not None
    return reason_of(status_of(stream.ending))


def open_chat(alice: Person, token: str) -> Stream:
    return Stream(alice.stub.Chat(metadata=(("authorization", f"Bearer {token}"),)))


def open_subscription(alice: Person, token: str) -> Stream:
    request = chat_pb2.SubscribeRequest(hello=chat_pb2.Hello(device_id="s"))
    return Stream(alice.stub.Subscribe(request, metadata=(("authorization", f"Bearer {token}"),)))


async def test_streams_end_within_a_second_of_their_token(server: RunningServer):
    async with registered(server.target) as alice:
        token, expire_time = mint(server, alice.name, life_seconds=1.0)
        streams = [open_chat(alice, token), open_subscription(alice, token), open_chat(alice, token)]
        await streams[0].hello()
        assert streams[0].welcomes[0].access_expire_time.ToMicroseconds() == int(expire_time * 1e6)
        for stream in streams:  # the third never says hello
            assert await ended_with(stream.start()) == "TOKEN_EXPIRED"
            assert -0.05 <= time.time() - expire_time <= 1.5
            await stream.close()


async def test_fresh_token_lets_the_stream_live_on(server: RunningServer):
    async with registered(server.target) as alice:
        own = f"{alice.name}:{alice.name}"
        token, expire_time = mint(server, alice.name, life_seconds=1.0)
        async with alice.chat(token=token) as stream:
            await stream.write(authenticate=chat_pb2.Authenticate(access_token=alice.token))
            await wait_for(lambda: time.time() > expire_time + 0.6, what="the old token's end")
            assert await stream.say(own, "still here") == 1
            assert not stream.errors
            # The token that came last counts, also when it ends sooner.
            token, expire_time = mint(server, alice.name, life_seconds=0.5)
            await stream.write(authenticate=chat_pb2.Authenticate(access_token=token))
            assert await ended_with(stream) == "TOKEN_EXPIRED"


async def test_authenticate_takes_only_good_tokens_of_the_same_user(server: RunningServer):
    async with registered(server.target) as alice, registered(server.target) as eve, alice.chat() as stream:

        async def refused(token: str) -> str:
            return await stream.refused(await stream.write(authenticate=chat_pb2.Authenticate(access_token=token)))

        assert await refused(eve.token) == "TOKEN_INVALID"
        for name, (token, reason) in bad_tokens(server, alice.token, alice.refresh_token, alice.name).items():
            assert await refused(token) == reason, name
        assert await stream.say(f"{alice.name}:{alice.name}", "still here") == 1


async def test_token_of_a_key_that_was_added_just_now_is_good_for_calls_streams_and_frames(server: RunningServer):
    """Each worker reads the keys when it is asked about one that it does not know."""
    async with registered(server.target) as alice:
        token = mint_with_new_key(server, alice.name)
        metadata = (("authorization", f"Bearer {token}"),)
        user = await alice.stub.GetUser(account_pb2.GetUserRequest(), metadata=metadata)
        assert user.user.username == alice.name
        stream = open_chat(alice, mint_with_new_key(server, alice.name))
        await stream.hello()
        await stream.write(
            authenticate=chat_pb2.Authenticate(access_token=mint_with_new_key(server, alice.name)), correlation_id=5
        )
        assert await stream.say(f"{alice.name}:{alice.name}", "still here") == 1
        assert not stream.errors
        await stream.close()


async def test_authenticate_with_another_login_puts_the_stream_under_that_one(server: RunningServer):
    async with registered(server.target) as alice:
        second = await alice.stub.Login(account_pb2.LoginRequest(username=alice.name, password=PASSWORD))
        async with alice.chat() as stream:
            await stream.write(authenticate=chat_pb2.Authenticate(access_token=second.access_token))
            await stream.say(f"{alice.name}:{alice.name}", "fence")
            await alice.stub.Logout(account_pb2.LogoutRequest(refresh_token=alice.refresh_token))
            await stream.say(f"{alice.name}:{alice.name}", "the first login's end is not this stream's")
            await alice.stub.Logout(account_pb2.LogoutRequest(refresh_token=second.refresh_token))
            assert await ended_with(stream) == "TOKEN_INVALID"


async def delete_account(alice: Person) -> None:
    await alice.call("DeleteAccount", account_pb2.DeleteAccountRequest(password=PASSWORD))


async def use_a_refresh_token_twice(alice: Person) -> None:
    request = account_pb2.RefreshTokenRequest(refresh_token=alice.refresh_token)
    await alice.stub.RefreshToken(request)
    async with refusal("TOKEN_INVALID"):
        await alice.stub.RefreshToken(request)


@pytest.mark.parametrize("end", [delete_account, use_a_refresh_token_twice], ids=lambda end: end.__name__)
async def test_end_of_the_login_ends_all_its_streams_at_once(server: RunningServer, end: Callable[..., object]):
    async with registered(server.target) as alice:
        async with alice.chat() as chat:
            subscription = open_subscription(alice, alice.token).start()
            await subscription.until(lambda: subscription.welcomes, "welcome")
            await end(alice)
            for stream in (chat, subscription):
                assert await ended_with(stream, 3) == "TOKEN_INVALID"
            await subscription.close()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await alice.pull(f"{alice.name}:{alice.name}")
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_end_of_the_login_ends_a_stream_whose_client_does_not_read(server: RunningServer):
    """The write that waits for the client is given up, two seconds after the end was asked for."""

    async def is_offline() -> bool:
        request = presence_pb2.GetPresenceRequest(usernames=[bob.name])
        (presence,) = (await alice.call("GetPresence", request)).presences
        return bool(presence.state == presence_pb2.PRESENCE_STATE_OFFLINE)

    async with registered(server.target) as alice, registered(server.target) as bob:
        group = await alice.make_group(bob)
        calls = [bob.stub.Chat(metadata=bob.metadata) for _ in range(2)]
        for call in calls:
            await call.write(chat_pb2.ChatRequest(correlation_id=1, hello=chat_pb2.Hello(device_id="deaf")))
            await call.read()
        for _ in range(40):
            requests = [message_pb2.SendRequest(conversation_id=group, text="y" * 8_000) for _ in range(20)]
            await alice.call("BatchSend", message_pb2.BatchSendRequest(requests=requests))
        await bob.stub.Logout(account_pb2.LogoutRequest(refresh_token=bob.refresh_token))
        await wait_for(is_offline, what="the end of the stream")
        await alice.send(group, "after the end")
        calls[0].cancel()  # a client that goes away without a look at the rest is no fault
        # What was on its way comes, then the reason, and nothing newer.
        reader = Stream(calls[1])
        assert await ended_with(reader.start()) == "TOKEN_INVALID"
        assert 0 < len(reader.messages) < 800
        await reader.close()
        assert "raised in core" not in server.text


async def test_disabling_an_account_ends_its_streams_within_seconds(server: RunningServer):
    async with registered(server.target) as alice, alice.chat() as stream:
        token, _ = mint(server, alice.name)
        minted = open_chat(alice, token)
        await minted.hello(device_id="m")
        command = [sys.executable, "-m", "service", "user", "disable", alice.name, "--data-dir", str(server.data_dir)]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
        for one in (stream, minted):
            assert await ended_with(one, 12) == "TOKEN_INVALID"
        await minted.close()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await alice.stub.Login(account_pb2.LoginRequest(username=alice.name, password=PASSWORD))
        assert reason_of(status_of(caught.value)) == "USER_DISABLED"
