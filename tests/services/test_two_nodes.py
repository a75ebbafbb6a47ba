"""Two servers behind Envoy, each on a host of its own: what one of them suffers costs no message."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.services.callers import calling
from tests.services.network import can_make_one
from tests.services.nodes import Nodes, open_nodes
from tests.services.site import Site, open_site
from tests.services.traffic import assert_kept_through
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(not can_make_one(), reason="network namespaces can't be made here")
_DELAY = {"PARLEY_SHUTDOWN_DELAY_SECONDS": "5"}


@pytest.fixture(scope="module")
def module_site() -> Iterator[Site]:
    with open_site() as opened:
        yield opened


@pytest.fixture(scope="module")
async def nodes(module_site: Site) -> AsyncIterator[Nodes]:
    async with open_nodes(module_site, **_DELAY) as opened:
        yield opened


async def test_rolling_restart_fails_no_call_and_loses_no_message(nodes: Nodes) -> None:
    async with calling(nodes.envoy.target) as tally:
        await tally.grow()

        async def restart_both() -> None:
            for number in range(2):
                await asyncio.to_thread(nodes.restart, number)
                await tally.grow()

        await assert_kept_through("rolling restart behind envoy", nodes.traffic, restart_both)
        assert tally.failed == {}
        assert tally.done_count > 100


async def test_killed_node_costs_no_message(nodes: Nodes) -> None:
    async def kill() -> None:
        await asyncio.to_thread(nodes.kill, 0)
        await asyncio.to_thread(nodes.wait_healthy, 1)
        await asyncio.to_thread(nodes.start_again, 0)

    await assert_kept_through("kill -9 behind envoy", nodes.traffic, kill)


async def test_node_without_its_database_gets_no_calls_and_costs_no_message(nodes: Nodes) -> None:
    async def cut() -> None:
        with nodes.network.cut("node0", "postgres"):
            await asyncio.to_thread(nodes.wait_healthy, 1)
            async with calling(nodes.envoy.target) as tally:
                await tally.grow(200)
                assert tally.failed == {}
        await asyncio.to_thread(nodes.wait_healthy, 2)

    await assert_kept_through("cut off from postgresql behind envoy", nodes.traffic, cut)


@pytest.mark.parametrize("other", ["redis", "node1"])
async def test_node_without_redis_or_the_other_node_fails_no_call_and_costs_no_message(
    nodes: Nodes, other: str
) -> None:
    async def cut() -> None:
        log = nodes.servers[0].output
        begin = len(log)
        async with calling(nodes.envoy.target) as tally:
            await tally.grow()
            with nodes.network.cut("node0", other):
                if other == "redis":
                    await wait_for(lambda: _says(log[begin:], "bus connection lost"), limit_seconds=30, what="notice")
                await tally.grow(400)
            if other == "redis":
                await wait_for(lambda: _says(log[begin:], "bus back"), limit_seconds=60, what="the bus")
            assert nodes.envoy.healthy_count == 2
            assert tally.failed == {}

    await assert_kept_through(f"cut off from {other} behind envoy", nodes.traffic, cut)


def _says(lines: list[str], event: str) -> bool:
    return any(f'"event": "{event}"' in line for line in lines)
