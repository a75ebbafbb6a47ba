"""A Redis Cluster of three primaries and three replicas, of which slots can be moved and nodes killed."""

from tests.services.redis7 import Redis7
from tests.services.site import Site
from tests.support.waiting import wait_until


class RedisCluster:
    """The cluster; the first three nodes begin as primaries.

    Attributes:
        hosts: host:port of each node.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self.nodes = [Redis7(site, f"node{number}") for number in range(6)]
        self.hosts = [f"127.0.0.1:{node.port}" for node in self.nodes]

    def start(self) -> None:
        """Makes the cluster and waits until all slots are served and all replicas are in step."""
        for node in self.nodes:
            node.start("cluster-enabled yes", "cluster-node-timeout 1500", "cluster-replica-validity-factor 0")
        self._cluster("create", *self.hosts, "--cluster-replicas", "1", "--cluster-yes")
        wait_until(self.is_whole, limit_seconds=30, what="a whole cluster")

    def is_whole(self) -> bool:
        """Whether every node that runs says that all slots are served, and each primary has a replica."""
        for node in self.nodes:
            if "cluster_state:ok" not in node.cli("cluster", "info"):
                return False
        replicas = [line for line in self.nodes[0].cli("cluster", "nodes").splitlines() if " slave " in line]
        return len(replicas) == 3

    def move_slots(self, count: int = 2000) -> None:
        """Moves slots from the first primary to the second one, not all of them: a failover needs three primaries."""
        source, goal = self._ids()[:2]
        first = self.hosts[0]
        words = ("--cluster-from", source, "--cluster-to", goal, "--cluster-slots", str(count), "--cluster-yes")
        self._cluster("reshard", first, *words, "--cluster-pipeline", "100")

    def fail_over(self, number: int = 1) -> None:
        """Kills a primary, waits until its replica has its place, and starts it again."""
        node = self.nodes[number]
        name = self._ids()[number]
        node.kill()
        asked = self.nodes[(number + 1) % len(self.nodes)]

        def is_replaced() -> bool:
            lines = asked.cli("cluster", "nodes").splitlines()
            return any(name in line and "fail" in line for line in lines) and "cluster_state:ok" in asked.cli(
                "cluster", "info"
            )

        wait_until(is_replaced, limit_seconds=40, what="a failover")
        node.start()
        wait_until(self.is_whole, limit_seconds=30, what="a whole cluster again")

    def _ids(self) -> list[str]:
        return [node.cli("cluster", "myid") for node in self.nodes]

    def _cluster(self, command: str, *words: str) -> None:
        self._site.run("redis-cli", "--cluster", command, *words)
