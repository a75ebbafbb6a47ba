"""HAProxy as it is shipped: two servers behind it are restarted one after the other, and no call fails."""

import asyncio
from dataclasses import replace

from tests.services.callers import calling
from tests.services.haproxy import HAProxy
from tests.services.postgres15 import Postgres15
from tests.services.redis7 import Redis7
from tests.services.site import Site, free_port
from tests.services.traffic import PLAN, Traffic, assert_kept_through, open_traffic
from tests.support.servers import is_ready, start_server
from tests.support.waiting import wait_until

_PLAN = replace(PLAN, nodes=2)


async def test_rolling_restart_fails_no_call_and_loses_no_message(site: Site, postgres: Postgres15) -> None:
    redis = Redis7(site)
    redis.start()
    ports = [free_port(), free_port()]
    settings = {
        "PARLEY_DATABASE_URL": postgres.url("parley"),
        "PARLEY_REDIS_URL": redis.url(),
        "PARLEY_SHUTDOWN_DELAY_SECONDS": "5",
    }
    each = [{"PARLEY_METRICS_LISTEN": f"127.0.0.1:{port}"} for port in ports]
    async with open_traffic(settings, database_url=postgres.checker_url, plan=_PLAN, each=each) as traffic:
        nodes = [(server.target, port) for server, port in zip(traffic.servers, ports, strict=True)]
        proxy = HAProxy(site, nodes)
        await asyncio.to_thread(proxy.start)
        traffic.front = proxy.target

        async with calling(proxy.target) as tally:

            async def restart_both() -> None:
                for number in range(2):
                    await asyncio.to_thread(restart, traffic, number, settings | each[number], proxy)
                    await tally.grow()

            await assert_kept_through("rolling restart behind haproxy", traffic, restart_both)
            assert tally.failed == {}


def restart(traffic: Traffic, number: int, settings: dict[str, str], proxy: HAProxy) -> None:
    server = traffic.servers[number]
    server.process.terminate()
    assert server.process.wait(60) == 0, server.text
    listen = {"PARLEY_LISTEN": server.target}
    again = start_server(server.data_dir, settings=traffic.settings | settings | listen)
    server.process, server.output = again.process, again.output
    wait_until(lambda: is_ready(again), limit_seconds=60, what="the server again")
    wait_until(lambda: proxy.states() == ["UP", "UP"], limit_seconds=30, what="two nodes that are up")
