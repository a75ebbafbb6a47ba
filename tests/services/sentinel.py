"""A Redis primary with a replica, and three Sentinels that fail over within seconds."""

from tests.services.redis7 import Redis7
from tests.services.site import Site, free_port
from tests.support.waiting import wait_until

NAME = "parley"
_DOWN_MS = 1000


class Sentinels:
    """The group.

    Attributes:
        hosts: host:port of each Sentinel.
    """

    def __init__(self, site: Site, *, password: str = "", count: int = 3) -> None:
        self._site = site
        self._password = password
        self.redis = [Redis7(site, f"redis{number}") for number in range(2)]
        self._ports = [free_port() for _ in range(count)]
        self.hosts = [f"127.0.0.1:{port}" for port in self._ports]

    def start(self) -> None:
        """Starts all of them and waits until the Sentinels know each other and the replica."""
        primary, replica = self.redis
        lines = [f"requirepass {self._password}", f"masterauth {self._password}"] if self._password else []
        primary.start(*lines)
        replica.start(*lines, f"replicaof 127.0.0.1 {primary.port}")
        for port in self._ports:
            self._start_sentinel(port)
        wait_until(self._is_complete, limit_seconds=30, what="Sentinels that know each other")

    def primary(self) -> Redis7:
        """The server that the first Sentinel takes for the primary."""
        port = int(self._ask(self._ports[0], "sentinel", "get-master-addr-by-name", NAME).splitlines()[1])
        return next(server for server in self.redis if server.port == port)

    def fail_over(self) -> None:
        """Kills the primary; waits until the Sentinels have another one; brings the old one back as its replica."""
        old = self.primary()
        old.kill()
        wait_until(lambda: self.primary() is not old, limit_seconds=40, what="a failover")
        old.start()

    def _start_sentinel(self, port: int) -> None:
        lines = [
            "bind 127.0.0.1",
            f"port {port}",
            f"dir {self._site.make_directory(f'sentinel{port}')}",
            f"sentinel monitor {NAME} 127.0.0.1 {self.redis[0].port} 2",
            f"sentinel down-after-milliseconds {NAME} {_DOWN_MS}",
            f"sentinel failover-timeout {NAME} 5000",
        ]
        if self._password:
            lines.append(f"sentinel auth-pass {NAME} {self._password}")
        configuration = self._site.write(f"sentinel{port}.conf", "\n".join([*lines, ""]))
        self._site.spawn(f"sentinel{port}", "redis-sentinel", configuration)

    def _is_complete(self) -> bool:
        try:
            answers = [self._ask(port, "sentinel", "master", NAME).splitlines() for port in self._ports]
        except AssertionError:
            return False
        facts = [dict(zip(answer[::2], answer[1::2], strict=False)) for answer in answers]
        others = str(len(self._ports) - 1)
        return all(fact.get("num-slaves") == "1" and fact.get("num-other-sentinels") == others for fact in facts)

    def _ask(self, port: int, *words: str) -> str:
        return self._site.run("redis-cli", "-h", "127.0.0.1", "-p", str(port), *words)
