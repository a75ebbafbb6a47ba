"""What clients and operators see of a Redis that does a part of what it is needed for."""

import asyncio
import contextlib

import grpc
import pytest
from parley.v1 import chat_service_pb2_grpc, presence_pb2, server_info_pb2

from tests.support.people import registered
from tests.support.redises import Server, running_redis_cluster, running_sentinels, running_servers
from tests.support.scrapes import Metrics
from tests.support.servers import RunningServer, running_server
from tests.support.waiting import wait_for

OK, AWAY = server_info_pb2.Component.STATE_OK, server_info_pb2.Component.STATE_AWAY


async def states(server: RunningServer) -> dict[str, int]:
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        answer = await stub.GetServerInfo(server_info_pb2.GetServerInfoRequest(), timeout=10)
        return {component.name: component.state for component in answer.components}


def settings_for(redis: Server) -> dict[str, str]:
    return {"PARLEY_REDIS_URL": f"redis://{redis.place}", "PARLEY_METRICS_LISTEN": "127.0.0.1:0"}


@pytest.mark.parametrize(("forbidden", "is_up"), [("EVALSHA", (1, 0)), ("SUBSCRIBE", (0, 1))])
async def test_redis_is_away_when_a_part_is_refused_and_the_gauges_say_which(
    forbidden: str, is_up: tuple[int, int]
) -> None:
    with running_servers({}, forbidden=[forbidden]) as (redis,), running_server(settings=settings_for(redis)) as server:

        async def shows() -> bool:
            page = await asyncio.to_thread(Metrics, server)
            up = tuple(int(page.value(f"{part}_up", worker="0")) for part in ("bus", "presence"))
            return up == is_up and await states(server) == {"postgres": OK, "redis": AWAY}

        await wait_for(shows, what="the truth")
        async with registered(server.target) as ann, ann.chat():
            answer = await ann.call("GetPresence", presence_pb2.GetPresenceRequest(usernames=[ann.name]))
            unknown, online = presence_pb2.PRESENCE_STATE_UNKNOWN, presence_pb2.PRESENCE_STATE_ONLINE
            assert answer.presences[0].state == (unknown if forbidden == "EVALSHA" else online)
        told = [line for line in server.output if "renamed or switched off" in line]
        assert told
        assert len(told) <= 4, "once for each part, and not with every beat"


async def test_redis_is_ok_when_both_parts_work() -> None:
    with running_servers({}) as (redis,), running_server(settings=settings_for(redis)) as server:

        async def is_ok() -> bool:
            return await states(server) == {"postgres": OK, "redis": OK}

        await wait_for(is_ok, what="the truth")


@pytest.mark.parametrize("form", ["sentinel", "cluster"])
async def test_failover_of_redis_costs_no_message_and_what_clients_see_is_right_again(form: str) -> None:
    with contextlib.ExitStack() as stack:
        if form == "sentinel":
            watched = stack.enter_context(running_sentinels())
            url, dead = watched.url(), watched.primary()
        else:
            cluster = stack.enter_context(running_redis_cluster())
            url, dead = cluster.url(), cluster.nodes[0]
        server = stack.enter_context(running_server(workers=2, settings={"PARLEY_REDIS_URL": url}))

        async def is_ok() -> bool:
            return await states(server) == {"postgres": OK, "redis": OK}

        await wait_for(is_ok, what="redis")
        async with registered(server.target) as ann, registered(server.target) as bob, bob.chat() as stream:
            group = await ann.make_group(bob)
            await ann.send(group, "1")
            dead.kill()
            for nth in range(2, 30):
                await ann.send(group, str(nth))
                await stream.until(lambda: len(stream.messages) == nth, "the message")  # noqa: B023
            await wait_for(is_ok, limit_seconds=30, what="redis again")
            await ann.send(group, "last")
            await stream.until(lambda: len(stream.messages) == 30, "the last one")
            assert [message.seq for message in stream.messages] == list(range(1, 31))
        assert '"level": "error"' not in server.text, server.text
