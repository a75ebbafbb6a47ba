"""Where a run takes place: real servers, databases and proxies, users with devices, and the load that they make.

What is done to them is in `actions.py`; what comes out is judged by `checker.py`.
"""

import asyncio
import contextlib
import random
import socket
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from parley.v1 import conversation_pb2

from service.auth.keys import ensure_keys_file
from storage.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.faults.armed_service import serve_command
from tests.faults.bounds import Measured
from tests.faults.client import Client
from tests.faults.consumers import Consumer
from tests.faults.final_log import read_last_seqs, read_unsettled
from tests.faults.history import History, Scene, Terms
from tests.support.cluster import Cluster, running_cluster
from tests.support.disks import small_disk
from tests.support.people import Person, registered
from tests.support.proxy import Proxy, open_proxy
from tests.support.servers import RunningServer, is_ready, start_server, wait_ready
from tests.support.waiting import wait_for

_SETTLE_SECONDS = 20.0
# Small enough to be full now and then: what comes between two acks of a device.
_WINDOW_MESSAGES = 100
_DEVICES_OF_BYSTANDERS = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """What a stage is made of.

    Attributes:
        nodes: servers on the same databases.
        redis_proxy: Redis is reached by a proxy.
        postgres_proxy: PostgreSQL is.
        client_proxy: the server is.
        has_standby: PostgreSQL is a primary and a synchronous standby.
        failpoints: built into the servers' workers (`failpoints.py`).
        lanes: of each worker; 0: as the server has them by itself.
        users: each with `devices` devices; all of them are in all conversations.
        bystanders: further users with 50 devices each, who are in no conversation.
        rate: messages a second that all clients send together.
        disk_bytes: the data directory is a file system of this size; 0: it is the machine's.
        text_bytes: the length of a message's text, about.
        prefers_first_node: all are on the first node while it is there.
        has_consumers: a further user has consumer groups (`groups.py`), in all conversations.
        is_pinned: the nth client stays on the nth node, in turn, so that it is known who is where.
    """

    workers: int = 2
    nodes: int = 1
    redis_proxy: bool = False
    postgres_proxy: bool = False
    client_proxy: bool = False
    has_standby: bool = False
    failpoints: tuple[str, ...] = ()
    lanes: int = 0
    users: int = 4
    devices: int = 2
    conversations: int = 4
    bystanders: int = 0
    rate: float = 400.0
    disk_bytes: int = 0
    text_bytes: int = 150
    is_pinned: bool = False
    prefers_first_node: bool = False
    has_consumers: bool = False


# Each claim and each batch of acks is a commit, and an ordered group takes one message of a conversation at a time.
CONSUMERS = Plan(users=2, devices=1, rate=60.0, has_consumers=True)


@dataclass(slots=True)
class Stage:
    """What is there while a run lasts."""

    plan: Plan
    rng: random.Random
    servers: list[RunningServer]
    settings: dict[str, str]
    database_url: str
    valkey: EmbeddedValkey | None = None
    cluster: Cluster | None = None
    redis_proxy: Proxy | None = None
    postgres_proxy: Proxy | None = None
    client_proxy: Proxy | None = None
    people: list[Person] = field(default_factory=list)  # behind those of the plan, the one who has consumers
    clients: list[Client] = field(default_factory=list)
    consumers: list[Consumer] = field(default_factory=list)
    groups: dict[str, Terms] = field(default_factory=dict)
    members: dict[str, frozenset[str]] = field(default_factory=dict)
    history: History = field(default_factory=History)
    notes: dict[str, str] = field(default_factory=dict)
    measured: list[Measured] = field(default_factory=list)
    present: dict[str, set[str]] = field(default_factory=dict)
    _load: list["asyncio.Task[None]"] = field(default_factory=list)
    _request_count: int = 0
    _silent: set[Client] = field(default_factory=set)

    @property
    def scene(self) -> Scene:
        """Who was where, for the checker."""
        devices = {client.device: client.username for client in self.clients}
        windows = {client.device: client.window_messages for client in self.clients if client.window_messages}
        watchers = frozenset(client.device for client in self.clients if client.watches_receipts)
        return Scene(self.members, devices, windows, self.groups, watchers)

    @staticmethod
    def now() -> float:
        """The run's clock."""
        return asyncio.get_running_loop().time()

    def find_target(self) -> str:
        """Says where a client is to connect: to any node that runs, by the proxy if there is one."""
        if self.client_proxy is not None:
            return self.client_proxy.target
        alive = [server.target for server in self.servers if server.process.poll() is None]
        if self.plan.prefers_first_node and alive:
            return alive[0]
        return self.rng.choice(alive or [self.servers[0].target])

    def children(self, name: str) -> list[psutil.Process]:
        """The processes of all nodes whose command line has this, as `ps` shows it."""
        found = []
        for server in self.servers:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [
                    process
                    for process in psutil.Process(server.process.pid).children(recursive=True)
                    if is_running(process, name)
                ]
        return found

    def add_client(self, person: Person, device_id: str, *, sends: bool = True, **options: int) -> Client:
        """A further device of a user, not connected yet.

        Args:
            sends: whether it takes part in the load.
        """
        find_target = self.find_target
        if self.plan.is_pinned:
            server = self.servers[len(self.clients) % len(self.servers)]

            def find_target() -> str:
                return server.target

        client = Client(
            self.history,
            person.name,
            person.token,
            device_id,
            find_target=find_target,
            now=self.now,
            rng=random.Random(self.rng.random()),
            **options,
        )
        self.clients.append(client)
        if not sends:
            self._silent.add(client)
        return client

    async def add_conversation(self, *people: Person) -> str:
        """A group of these."""
        conversation_id = await people[0].make_group(*people[1:])
        self.members[conversation_id] = frozenset(person.name for person in people)
        self.present[conversation_id] = {person.name for person in people}
        return conversation_id

    async def add_member(self, conversation_id: str, by: Person, who: Person) -> None:
        """Puts a user into a conversation."""
        request = conversation_pb2.AddMembersRequest(conversation_id=conversation_id, members=[who.name])
        await by.call("AddMembers", request)
        self.present[conversation_id].add(who.name)

    async def remove_member(self, conversation_id: str, by: Person, who: Person) -> None:
        """Takes a user out of a conversation."""
        self.present[conversation_id].discard(who.name)
        request = conversation_pb2.RemoveMembersRequest(conversation_id=conversation_id, members=[who.name])
        await by.call("RemoveMembers", request)

    async def connect_all(self) -> None:
        """Connects every client that is not yet."""
        for client in self.clients:
            if not client.is_started:
                client.start()
        await wait_for(lambda: all(client.is_open for client in self.clients), limit_seconds=40, what="all streams")

    def send(self, client: Client, conversation_id: str, words: str = "") -> str:
        """Sends one message with a text of its own; gives its request id."""
        self._request_count += 1
        request_id = f"r{self._request_count}"
        text = f"{words} {request_id} of {client.device} ".lstrip().ljust(self.plan.text_bytes, ".")
        client.submit(conversation_id, request_id, text)
        return request_id

    async def say(self, client: Client, conversation_id: str, words: str = "") -> None:
        """Sends one message and waits for its answer."""
        self.send(client, conversation_id, words)
        await wait_for(lambda: not client.waiting_count, limit_seconds=30, what="the answer")

    def start_load(self) -> None:
        """Has every client send, at the plan's rate in all."""
        if not self._load:
            senders = [client for client in self.clients if client not in self._silent]
            pause_seconds = len(senders) / self.plan.rate
            self._load = [asyncio.create_task(self._send_on(client, pause_seconds)) for client in senders]

    async def stop_load(self) -> None:
        """Ends what `start_load` began."""
        for task in self._load:
            task.cancel()
        await asyncio.gather(*self._load, return_exceptions=True)
        self._load = []

    async def settle(self, limit_seconds: float = _SETTLE_SECONDS) -> None:
        """Waits until nothing is unanswered and every device and consumer has the end of every log, or the limit ends.

        What is missing then is for the checker to say.
        """
        with contextlib.suppress(AssertionError):
            await wait_for(self._is_settled, limit_seconds=limit_seconds, what="quiet")

    async def _send_on(self, client: Client, pause_seconds: float) -> None:
        """Sends at a steady rate; one whose answers don't come stops at 300 requests without one."""
        next_time = self.now() + client._rng.random() * pause_seconds
        while True:
            await asyncio.sleep(max(next_time - self.now(), 0))
            next_time = max(next_time + pause_seconds, self.now() - 0.5)
            mine = [name for name, members in self.members.items() if client.username in members]
            if client.waiting_count < 300:
                self.send(client, client._rng.choice(mine))

    async def _is_settled(self) -> bool:
        if any(client.waiting_count or not client.has_acked_all for client in self.clients):
            return False
        last_seqs = await read_last_seqs(self.database_url)
        if self.groups and await read_unsettled(self.database_url, list(self.groups)):
            return False
        return all(
            client.last_seqs.get(conversation_id, 0) >= last_seqs[conversation_id]
            for conversation_id, present in self.present.items()
            for client in self.clients
            if client.username in present
        )


@contextlib.asynccontextmanager
async def open_stage(plan: Plan, rng: random.Random) -> AsyncIterator[Stage]:
    """Starts everything and connects the clients; ends all of it afterwards."""
    async with contextlib.AsyncExitStack() as stack:
        settings = {"PARLEY_LOG_FORMAT": "json", "PARLEY_AUTH_ATTEMPTS_PER_MINUTE_PER_ADDRESS": "100000"}
        if plan.lanes:
            settings["PARLEY_DATABASE_LANES"] = str(plan.lanes)
        stage = Stage(plan, rng, [], settings, "")
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-stage-")))
        if plan.redis_proxy or plan.nodes > 1:
            await _open_redis(stage, stack, directory)
        if plan.postgres_proxy or plan.has_standby or plan.nodes > 1:
            await _open_postgres(stage, stack, directory)
        if plan.nodes > 1:  # tokens of one node are good on the others
            ensure_keys_file(directory / "keys.json")
            stage.settings["PARLEY_AUTH_KEYS_FILE"] = str(directory / "keys.json")
        for _ in range(plan.nodes):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-faults-")))
            if plan.disk_bytes:
                stack.enter_context(small_disk(directory, plan.disk_bytes))
            stage.servers.append(await stack.enter_async_context(kept(directory, plan, stage.settings)))
        if not stage.database_url:
            stage.database_url = EmbeddedPostgres(stage.servers[0].data_dir).url
        if plan.client_proxy:
            stage.client_proxy = await stack.enter_async_context(open_proxy(stage.servers[0].target))
        await gather_people(stage, stack)
        stack.push_async_callback(close_clients, stage)
        stack.push_async_callback(stage.stop_load)
        yield stage


async def _open_redis(stage: Stage, stack: contextlib.AsyncExitStack, directory: Path) -> None:
    valkey = stage.valkey = EmbeddedValkey(directory)
    stack.callback(valkey.stop)
    valkey.start()
    url = valkey.url
    if stage.plan.redis_proxy:
        stage.redis_proxy = await stack.enter_async_context(open_proxy(str(valkey.socket_path)))
        url = f"redis://{stage.redis_proxy.target}"
    stage.settings["PARLEY_REDIS_URL"] = url


async def _open_postgres(stage: Stage, stack: contextlib.AsyncExitStack, directory: Path) -> None:
    if stage.plan.has_standby:
        stage.cluster = stack.enter_context(running_cluster())
        stage.database_url = stage.settings["PARLEY_DATABASE_URL"] = stage.cluster.url
        return
    postgres = EmbeddedPostgres(directory)
    stack.callback(postgres.stop)
    postgres.start()
    stage.database_url = url = postgres.url
    if stage.plan.postgres_proxy:
        stage.postgres_proxy = await stack.enter_async_context(open_proxy(str(postgres.socket_path)))
        url = f"postgresql://postgres@{stage.postgres_proxy.target}/postgres?sslmode=disable"
    stage.settings["PARLEY_DATABASE_URL"] = url


@contextlib.asynccontextmanager
async def kept(directory: Path, plan: Plan, settings: dict[str, str]) -> AsyncIterator[RunningServer]:
    """Serves on a port that stays its own when it is started again; proxies go on while it starts and stops."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    server = start_server(
        directory,
        workers=plan.workers,
        settings=settings | {"PARLEY_LISTEN": listen},
        command=serve_command(plan.failpoints),
    )
    try:
        await asyncio.to_thread(wait_ready, server)
        yield server
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(server.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()
        await asyncio.to_thread(server.stop)


async def restart(stage: Stage, server: RunningServer) -> None:
    """Starts a server that has ended again, on its directory and port, without holding up the traffic."""
    again = start_server(
        server.data_dir,
        workers=stage.plan.workers,
        settings=stage.settings | {"PARLEY_LISTEN": server.target},
        command=serve_command(stage.plan.failpoints),
    )
    server.process, server.output = again.process, again.output
    await wait_for(lambda: is_ready(again), limit_seconds=60, what="the server again")


async def gather_people(stage: Stage, stack: contextlib.AsyncExitStack) -> None:
    """Makes the plan's users, conversations and clients, and connects these."""
    plan = stage.plan
    target = stage.find_target()
    stage.people = list(
        await asyncio.gather(
            *(stack.enter_async_context(registered(target)) for _ in range(plan.users + plan.has_consumers))
        )
    )
    for _ in range(plan.conversations):
        await stage.add_conversation(*stage.people)
    for person in stage.people[: plan.users]:
        for number in range(plan.devices):
            # The first device of all also watches receipts; second devices give a window.
            is_first = not stage.clients
            window_messages = _WINDOW_MESSAGES if number else 0
            stage.add_client(person, f"device{number}", watches_receipts=is_first, window_messages=window_messages)
    crowd = (stack.enter_async_context(registered(target)) for _ in range(plan.bystanders))
    for person in await asyncio.gather(*crowd):
        for number in range(_DEVICES_OF_BYSTANDERS):
            stage.add_client(person, f"device{number}", sends=False, heartbeat_seconds=30)
    await stage.connect_all()


async def close_clients(stage: Stage) -> None:
    """Hangs up."""
    await asyncio.gather(*(client.close() for client in (*stage.clients, *stage.consumers)))


def is_running(process: psutil.Process, name: str) -> bool:
    """Whether a process has this in its command line, as `ps` shows it, and has not ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return name in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE
    return False
