"""What is said of presence while Redis is away, restarted empty, or out of memory."""

import asyncio
import contextlib

from parley.v1 import presence_pb2
from redis.asyncio import Redis

from tests.faults.bounds import Bound, Measured
from tests.faults.stage import Plan, Stage
from tests.support.waiting import wait_for

PLAN = Plan(users=3, devices=1, conversations=1, redis_proxy=True)
_OFFLINE, _ONLINE = presence_pb2.PRESENCE_STATE_OFFLINE, presence_pb2.PRESENCE_STATE_ONLINE
_UNKNOWN = presence_pb2.PRESENCE_STATE_UNKNOWN
_LIMIT_SECONDS = 30.0


async def lose_redis(stage: Stage) -> None:
    """Cuts the way to Redis, then restarts it empty; notes how long what is said was not right."""
    assert stage.redis_proxy is not None
    assert stage.valkey is not None
    right = await _begin(stage)
    begin = stage.now()
    stage.redis_proxy.cut()
    await _until(stage, [_UNKNOWN] * len(right))
    stage.measured.append(Measured(Bound.PRESENCE_UNKNOWN, stage.now() - begin))
    begin = stage.now()
    stage.redis_proxy.restore()
    await _until(stage, right)
    stage.measured.append(Measured(Bound.PRESENCE, stage.now() - begin))
    stage.valkey.stop()
    stage.valkey.start()
    begin = stage.now()
    wrong_seconds = await _until(stage, right)
    stage.measured.append(Measured(Bound.PRESENCE_EMPTY, stage.now() - begin))
    stage.notes["offline was said of who is online, s"] = f"{wrong_seconds:.1f}"


async def fill_redis(stage: Stage) -> None:
    """Redis is out of memory while one user comes and another leaves: what is said of both must become right."""
    assert stage.valkey is not None
    _, online, gone = stage.clients
    right = await _begin(stage)
    async with contextlib.aclosing(Redis.from_url(stage.valkey.url)) as redis:
        await redis.config_set("maxmemory", "1mb")
        try:
            await online.close()
            gone.start()
            await _until(stage, list(reversed(right)))
            # It stays right for longer than an entry lives, so what is written anew is taken, too.
            await asyncio.sleep(15)
            assert await _read(stage) == list(reversed(right))
        finally:
            await redis.config_set("maxmemory", "0")


async def _begin(stage: Stage) -> list[int]:
    """The second user is online and the third is not, and this is seen; gives their states."""
    (conversation_id,) = stage.members
    await stage.say(stage.clients[0], conversation_id)
    await stage.settle()
    await stage.clients[2].close()
    right = [_ONLINE, _OFFLINE]
    await _until(stage, right)
    return right


async def _until(stage: Stage, states: list[int]) -> float:
    """Waits until the second and third user are seen so; gives how long something false was said meanwhile."""
    wrong_seconds, last = 0.0, stage.now()

    async def are_seen() -> bool:
        nonlocal wrong_seconds, last
        seen = await _read(stage)
        now = stage.now()
        if any(one not in (state, _UNKNOWN) for one, state in zip(seen, states, strict=True)):
            wrong_seconds += now - last
        last = now
        return seen == states

    await wait_for(are_seen, limit_seconds=_LIMIT_SECONDS, what=f"{states} to be seen")
    return wrong_seconds


async def _read(stage: Stage) -> list[int]:
    reader, *others = stage.people
    request = presence_pb2.GetPresenceRequest(usernames=[person.name for person in others])
    return [one.state for one in (await reader.call("GetPresence", request)).presences]
