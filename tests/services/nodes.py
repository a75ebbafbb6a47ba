"""Two Parley servers on hosts of their own, with PostgreSQL and Redis on two others, behind Envoy on a fifth.

async with open_nodes(site) as nodes:
    await assert_kept_through("a restart", nodes.traffic, lambda: nodes.restart(0))
"""

import asyncio
import contextlib
import random
import secrets
import sys
from collections.abc import AsyncIterator

import psutil

from service.auth.keys import ensure_keys_file
from tests.faults.stage import Plan
from tests.services.envoy import Envoy
from tests.services.network import Network, open_network
from tests.services.postgres15 import Postgres15
from tests.services.redis7 import Redis7
from tests.services.site import Site
from tests.services.traffic import Traffic, connect_clients
from tests.support.servers import RunningServer, is_ready, start_server, wait_ready
from tests.support.waiting import wait_until

NAMES = ("node0", "node1")
_PORT = 50051
_START_SECONDS = 60
_PLAN = Plan(workers=1, nodes=2, users=3, devices=2, conversations=3, rate=80.0)


class Nodes:
    """What stands where.

    Attributes:
        settings: of both servers, besides their addresses.
    """

    def __init__(self, site: Site, network: Network, settings: dict[str, str]) -> None:
        self._site = site
        self.network = network
        places = {name: {"host": network.address(name), "namespace": network.namespace(name)} for name in _HOSTS}
        self.postgres = Postgres15(site, **places["postgres"])
        self.redis = Redis7(site, **places["redis"])
        self.envoy = Envoy(site, [self._listen(name) for name in NAMES], namespace=network.namespace("front"))
        self.settings = settings
        self.traffic = Traffic(_PLAN, random.Random(secrets.randbits(31)), [], settings, "", front=self.envoy.target)

    def start(self) -> None:
        """Starts everything."""
        self.postgres.start()
        self.postgres.add_role("parley", "GRANT CREATE ON DATABASE chat TO parley")
        self.redis.start("protected-mode no")
        self.traffic.database_url = self.postgres.checker_url
        keys_file = self._site.directory / "keys.json"
        ensure_keys_file(keys_file)
        self.settings |= {
            "PARLEY_DATABASE_URL": self.postgres.url("parley"),
            "PARLEY_REDIS_URL": self.redis.url(),
            "PARLEY_AUTH_KEYS_FILE": str(keys_file),
            "PARLEY_AUTH_ATTEMPTS_PER_MINUTE_PER_ADDRESS": "100000",
            "PARLEY_TLS_ALLOW_PLAINTEXT": "true",
            "PARLEY_LOG_FORMAT": "json",
        }
        for number, name in enumerate(NAMES):
            (self._site.directory / name).mkdir()
            self.servers.append(self._start(number))
        for server in self.servers:
            wait_ready(server)
        self.envoy.start(healthy_count=2)

    @property
    def servers(self) -> list[RunningServer]:
        """Both, as they run now."""
        return self.traffic.servers

    def stop(self, number: int) -> None:
        """Stops a server as an operator does, and waits for its end."""
        server = self.servers[number]
        server.process.terminate()
        assert server.process.wait(60) == 0, server.text

    def kill(self, number: int) -> None:
        """Ends a server and its workers at once."""
        pid = self.servers[number].process.pid
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.servers[number].process.wait()

    def start_again(self, number: int) -> None:
        """Starts a server that has ended; waits until Envoy takes it for healthy."""
        again = self._start(number)
        self.servers[number].process, self.servers[number].output = again.process, again.output
        wait_until(lambda: is_ready(again), limit_seconds=_START_SECONDS, what="the server again")
        self.wait_healthy(2)

    def restart(self, number: int) -> None:
        """Stops a server and starts it again."""
        self.stop(number)
        self.start_again(number)

    def wait_healthy(self, count: int) -> None:
        """Waits until Envoy gives calls to so many servers."""
        wait_until(lambda: self.envoy.healthy_count == count, limit_seconds=60, what=f"{count} healthy servers")

    def close(self) -> None:
        """Ends the servers."""
        for number, server in enumerate(self.servers):
            if server.process.poll() is None:
                self.kill(number)

    def _listen(self, name: str) -> str:
        return f"{self.network.address(name)}:{_PORT}"

    def _start(self, number: int) -> RunningServer:
        name = NAMES[number]
        command = ("ip", "netns", "exec", self.network.namespace(name), sys.executable, "-m", "service", "serve")
        settings = self.settings | {"PARLEY_LISTEN": self._listen(name)}
        return start_server(self._site.directory / name, workers=_PLAN.workers, settings=settings, command=command)


_HOSTS = (*NAMES, "postgres", "redis", "front")


@contextlib.asynccontextmanager
async def open_nodes(site: Site, **settings: str) -> AsyncIterator[Nodes]:
    """Starts all of it and connects clients by Envoy; ends it afterwards.

    Args:
        settings: further PARLEY_* variables of both servers.
    """
    async with contextlib.AsyncExitStack() as stack:
        network = stack.enter_context(open_network(*_HOSTS))
        stack.callback(site.close)  # what runs in the network ends before it
        nodes = Nodes(site, network, dict(settings))
        stack.callback(nodes.close)
        await asyncio.to_thread(nodes.start)
        await connect_clients(nodes.traffic, stack)
        yield nodes
