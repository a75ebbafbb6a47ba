"""Traffic through servers on other people's services, and the verdict on what its clients saw.

The clients, the rules and the verdict are those of the faults (tests/faults): each device resumes from its acks and
sends what was not answered again; the checker then reads the log and says what was lost, doubled or out of order.
"""

import asyncio
import contextlib
import random
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parley.v1 import presence_pb2

from service.auth.keys import ensure_keys_file
from tests.faults.run import Report, assert_held, judge, more, recover
from tests.faults.stage import Plan, Stage, close_clients, gather_people, kept
from tests.support.people import connected
from tests.support.waiting import wait_for

PLAN = Plan(workers=1, users=3, devices=2, conversations=3, rate=100.0)
# Answers before, between and after the events.
_MESSAGES_BETWEEN = 100
_RECOVERY_SECONDS = 60.0
_ONLINE = presence_pb2.PRESENCE_STATE_ONLINE

Event = Callable[[], Awaitable[None] | None]


@dataclass(slots=True)
class Traffic(Stage):
    """A stage of which others have made the services.

    Attributes:
        front: host:port of what stands before the servers; "": clients go to them.
    """

    front: str = ""

    def find_target(self) -> str:
        """Says where a client is to connect."""
        return self.front or Stage.find_target(self)


@contextlib.asynccontextmanager
async def open_traffic(
    settings: dict[str, str],
    *,
    database_url: str,
    plan: Plan = PLAN,
    each: Sequence[dict[str, str]] = (),
) -> AsyncIterator[Traffic]:
    """Starts the plan's servers with these settings and connects clients; ends them afterwards.

    Args:
        database_url: by which the checker reads all tables.
        each: further settings of the first server, the second one, and so on.
    """
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-nodes-")))
        ensure_keys_file(directory / "keys.json")  # tokens of one node are good on the others
        shared = {
            "PARLEY_LOG_FORMAT": "json",
            "PARLEY_AUTH_ATTEMPTS_PER_MINUTE_PER_ADDRESS": "100000",
            "PARLEY_AUTH_KEYS_FILE": str(directory / "keys.json"),
        }
        traffic = Traffic(plan, _seeded(), [], shared | settings, database_url)
        for number in range(plan.nodes):
            data_dir = directory / f"node{number}"
            data_dir.mkdir()
            own = each[number] if each else {}
            traffic.servers.append(await stack.enter_async_context(kept(data_dir, plan, traffic.settings | own)))
        await connect_clients(traffic, stack)
        yield traffic


async def connect_clients(traffic: Traffic, stack: contextlib.AsyncExitStack) -> None:
    """Connects the plan's clients; they hang up when the stack closes."""
    await gather_people(traffic, stack)
    stack.push_async_callback(close_clients, traffic)
    stack.push_async_callback(traffic.stop_load)


async def assert_kept_through(name: str, traffic: Traffic, *events: Event) -> Report:
    """Sends before, during and after each event; fails when anything was lost, doubled or out of order.

    An event that is no coroutine function runs in a thread, so that the clients go on meanwhile.
    """
    traffic.start_load()
    await more(traffic, _MESSAGES_BETWEEN, _RECOVERY_SECONDS)
    recoveries = []
    for event in events:
        begin = traffic.now()
        if asyncio.iscoroutinefunction(event):
            await event()
        else:
            await asyncio.to_thread(event)
        recoveries.append(await recover(traffic, begin, _RECOVERY_SECONDS))
        await more(traffic, _MESSAGES_BETWEEN, _RECOVERY_SECONDS)
    await traffic.stop_load()
    report = await judge(name, traffic, seed=0, recovery_seconds=recoveries)
    assert_held(report)
    return report


async def wait_for_presence(traffic: Traffic) -> None:
    """Waits until each server says of everybody, whichever server they are on, that they are online."""
    names = sorted({client.username for client in traffic.clients})
    request = presence_pb2.GetPresenceRequest(usernames=names)
    for server in traffic.servers:
        async with connected(server.target) as stub:

            async def are_online(stub: Any = stub) -> bool:
                answer = await stub.GetPresence(request, metadata=traffic.people[0].metadata, timeout=10)
                return [presence.state for presence in answer.presences] == [_ONLINE] * len(names)

            await wait_for(are_online, limit_seconds=30, what=f"presence at {server.target}")


def _seeded() -> random.Random:
    return random.Random(secrets.randbits(31))
