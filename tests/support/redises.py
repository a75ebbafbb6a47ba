"""Valkey servers on TCP ports: one, a primary with a replica and Sentinels, a cluster. Each ends with its test.

All of it is `valkey-server` of the embedded package, in its several modes, unless another program is named.
"""

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import AuthenticationError, RedisError

from storage.embedded.valkey import _program
from tests.support.spawning import _START
from tests.support.waiting import wait_until

START_SECONDS = 20.0


def free_port() -> int:
    """A port that nobody listens on now; below 55,536, so that a cluster's second port fits above it."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            if port < 55_536:
                return port


@dataclass(slots=True)
class Server:
    """A server on 127.0.0.1.

    Attributes:
        options: lines of its configuration.
        forbidden: commands that it does not have.
    """

    directory: Path
    options: dict[str, str]
    forbidden: Sequence[str] = ()
    program: str = field(default_factory=lambda: str(_program()))
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def place(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """What is run."""
        options = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(self.directory), "save": "", **self.options}
        parts = [part for name, value in options.items() for part in (f"--{name}", value)]
        forbidden = [part for name in self.forbidden for part in ("--rename-command", name, "")]
        return [self.program, *parts, *forbidden]

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.launch()
        wait_until(self.answers, limit_seconds=START_SECONDS, what="valkey")

    def launch(self) -> None:
        """Starts it."""
        self.directory.mkdir(exist_ok=True)
        starter = [sys.executable, "-I", "-S", "-c", _START, str(int(signal.SIGKILL)), "-1", "-1"]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen([*starter, *self.command()], stdout=log, stderr=log)

    def answers(self) -> bool:
        """Whether it answers, be it to ask for a password."""
        try:
            self.run("PING")
        except AuthenticationError:
            return True
        except RedisError:
            return False
        return True

    def run(self, *words: str | int) -> Any:
        """Makes a command."""
        with Redis(port=self.port, socket_timeout=5, protocol=2) as client:
            return client.execute_command(*words)

    def kill(self) -> None:
        """Ends it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        assert self.process is not None
        self.process.send_signal(number)


@contextlib.contextmanager
def running_servers(
    *options: dict[str, str], forbidden: Sequence[str] = (), program: str | None = None
) -> Iterator[list[Server]]:
    """Starts a server for each set of options."""
    program = program or str(_program())
    with tempfile.TemporaryDirectory(prefix="parley-redis-") as folder:
        servers = [Server(Path(folder, str(nth)), dict(each), forbidden, program) for nth, each in enumerate(options)]
        try:
            for server in servers:
                server.start()
            yield servers
        finally:
            for server in servers:
                server.kill()


@dataclass(slots=True)
class _Sentinel(Server):
    """A Sentinel; it keeps what it learns in its file."""

    def command(self) -> list[str]:
        """What is run."""
        return [self.program, str(self.directory / "sentinel.conf"), "--sentinel"]


@dataclass(slots=True)
class Watched:
    """A primary, its replica, and two Sentinels that watch them."""

    servers: list[Server]
    sentinels: list[Server]

    def url(self, login: str = "", query: str = "") -> str:
        """Names the Sentinels, and one that is not there before them."""
        places = ",".join([f"127.0.0.1:{free_port()}", *(sentinel.place for sentinel in self.sentinels)])
        return f"redis+sentinel://{login}{places}/chat/0{query}"

    def primary(self) -> Server:
        """The server that the Sentinels name."""
        port = int(self.sentinels[0].run("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "chat")[1])
        return next(server for server in self.servers if server.port == port)


@contextlib.contextmanager
def running_sentinels(password: str = "", *, program: str | None = None) -> Iterator[Watched]:
    """Starts all of it; a failover takes a second or two."""
    own = {"requirepass": password, "masterauth": password} if password else {}
    with running_servers(own, own, program=program) as servers, contextlib.ExitStack() as stack:
        first, second = servers
        with Redis(port=second.port, password=password or None) as client:
            client.execute_command("REPLICAOF", "127.0.0.1", first.port)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-sentinel-")))
        sentinels: list[Server] = []
        for nth in range(2):
            sentinel = _Sentinel(folder / str(nth), {}, program=first.program)
            sentinel.directory.mkdir()
            lines = [
                "bind 127.0.0.1",
                f"port {sentinel.port}",
                f"dir {sentinel.directory}",
                f"sentinel monitor chat 127.0.0.1 {first.port} 1",
                "sentinel down-after-milliseconds chat 500",
                "sentinel failover-timeout chat 3000",
                *([f"sentinel auth-pass chat {password}"] if password else []),
            ]
            (sentinel.directory / "sentinel.conf").write_text("\n".join([*lines, ""]))
            stack.callback(sentinel.kill)
            sentinel.start()
            sentinels.append(sentinel)
        watched = Watched(servers, sentinels)
        for sentinel in sentinels:
            wait_until(lambda: _sees_all(sentinel), limit_seconds=START_SECONDS, what="the Sentinels")  # noqa: B023
        yield watched


def _sees_all(sentinel: Server) -> bool:
    state = dict(zip(*[iter(sentinel.run("SENTINEL", "MASTER", "chat"))] * 2, strict=True))
    return (state[b"num-slaves"], state[b"num-other-sentinels"]) == (b"1", b"1")


@dataclass(slots=True)
class RunningCluster:
    """A cluster of primaries that have the slots, each with a replica; and one primary more, that has none yet."""

    nodes: list[Server]

    def url(self, count: int = 2) -> str:
        """Names some of the primaries."""
        return f"redis+cluster://{','.join(node.place for node in self.nodes[:count])}"

    def owner(self, slot: int) -> Server:
        """The primary of a slot."""
        for first, last, (_, port, *_), *_ in self.nodes[0].run("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise AssertionError(f"nobody has slot {slot}")

    def begin_move(self, slot: int, source: Server, target: Server) -> None:
        """Begins to move a slot: keys that are not at the source are asked for at the target."""
        target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", name_of(source))
        source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", name_of(target))

    def move_keys(self, slot: int, source: Server, target: Server, count: int = 1000) -> None:
        """Moves keys of a slot."""
        for key in source.run("CLUSTER", "GETKEYSINSLOT", slot, count):
            source.run("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)

    def end_move(self, slot: int, source: Server, target: Server) -> None:
        """Assigns the slot to the target."""
        for node in (target, source):
            node.run("CLUSTER", "SETSLOT", slot, "NODE", name_of(target))


def name_of(node: Server) -> str:
    """A node's id."""
    answer: bytes = node.run("CLUSTER", "MYID")
    return answer.decode()


@contextlib.contextmanager
def running_redis_cluster(*, program: str | None = None) -> Iterator[RunningCluster]:
    """Starts two primaries with a replica each, and an empty third one that keeps the majority; it is whole at once."""
    options = {
        "cluster-enabled": "yes",
        "cluster-node-timeout": "1000",
        "cluster-require-full-coverage": "no",
        "appendonly": "no",
    }
    with running_servers(*[options] * 5, program=program) as nodes:
        primaries, replicas = nodes[:3], nodes[3:]
        _join(primaries, ["0-5460", "5461-10922", "10923-16383"])
        for replica in replicas:
            replica.run("CLUSTER", "MEET", "127.0.0.1", primaries[0].port)
        for primary, replica in zip(primaries[:2], replicas, strict=True):
            wait_until(lambda: _follows(replica, primary), limit_seconds=START_SECONDS, what="a replica")  # noqa: B023
        cluster = RunningCluster([*nodes])  # tests take away those that they end
        wait_until(lambda: _is_whole(nodes), limit_seconds=START_SECONDS, what="the cluster")
        yield cluster


def _join(primaries: Sequence[Server], slots: Sequence[str]) -> None:
    for epoch, (node, span) in enumerate(zip(primaries, slots, strict=True), 1):
        node.run("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        node.run("CLUSTER", "ADDSLOTSRANGE", *span.split("-"))
    for node in primaries[1:]:
        node.run("CLUSTER", "MEET", "127.0.0.1", primaries[0].port)


def _follows(replica: Server, primary: Server) -> bool:
    with contextlib.suppress(RedisError):
        replica.run("CLUSTER", "REPLICATE", name_of(primary))
        return True
    return False


def _is_whole(nodes: Sequence[Server]) -> bool:
    for node in nodes:
        if b"cluster_state:ok" not in node.run("CLUSTER", "INFO"):
            return False
        rows = node.run("CLUSTER", "SLOTS")
        if sum(len(row) - 3 for row in rows) != 2:  # replicas
            return False
    return True
