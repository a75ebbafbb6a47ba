"""Streams that are open and do nothing: what each holds of memory, and what all together cost."""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer
from google.protobuf import duration_pb2
from parley.v1 import chat_pb2

from bench.connections import Address, Connections
from bench.errors import BenchError, RunBroken
from bench.meter import Meter
from bench.population import make_population
from bench.results import ProcessUse
from bench.scenarios.fields import GroupsOption, MembersOption, PerConnectionOption, SharingConnections, WatchedOption
from bench.site import Site
from bench.streams import Stream, open_all
from bench.users import User
from bench.window import Window


@dataclass(frozen=True, slots=True)
class Idle(SharingConnections):
    """The scenario; the options are its fields."""

    streams: Annotated[int, typer.Option(metavar="N", min=2, help="Open streams, of a user each.")] = 1000
    conversations: GroupsOption = 20
    members: MembersOption = 10
    watched: WatchedOption = 10
    heartbeat: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Heartbeats that each stream asks for; 0: none.")
    ] = 0.0
    streams_per_connection: PerConnectionOption = 1
    name: ClassVar[str] = "idle"
    needs_baseline: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """What sets a run apart."""
        return f"{self.streams:,} streams, {self.conversations} conversations each, watching {self.watched}"

    def check(self) -> None:
        """Says no to options that make no sense. Raises: BenchError."""
        if 0 < self.heartbeat < 1:
            raise BenchError(f"--heartbeat {self.heartbeat:g}: servers beat once a second at most; or 0 for none")

    async def prepare(self, site: Site, places: int) -> Sequence["IdlePart"]:
        """Makes the users and their groups."""
        population = await make_population(site, self.streams, self.conversations, self.members)
        known = population.list_known(self.watched)
        plans = [IdlePlan(user, known[user.name]) for user in population.users]
        return [IdlePart(site.address, tuple(plans[place::places]), self) for place in range(places)]

    def figures(
        self, uses: Sequence[ProcessUse], baseline: Sequence[ProcessUse], counts: Mapping[str, int], seconds: float
    ) -> Mapping[str, float]:
        """Memory of a stream beyond the server's before any was open, and processor time of all."""
        before = {use.kind: use for use in baseline}
        figures = {}
        for use in uses:
            if use.kind == "server" and use.kind in before:
                more = use.rss_bytes - before[use.kind].rss_bytes
                figures["rss_bytes_per_stream"] = more / self.streams
                figures["empty_server_rss_bytes"] = float(before[use.kind].rss_bytes)
        if uses and seconds:
            cpu = sum(use.cpu_seconds for use in uses if use.kind != "generator")
            figures["core_percent"] = 100 * cpu / seconds
        return figures


@dataclass(frozen=True, slots=True)
class IdlePlan:
    """A stream: whose, and whom it watches."""

    user: User
    watched: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IdlePart:
    """One generator's part."""

    address: Address
    plans: tuple[IdlePlan, ...]
    options: Idle

    def start(self, meter: Meter) -> "Idling":
        """Makes the load."""
        return Idling(self, meter)


class Idling:
    """The load; see `bench.load.Load`."""

    def __init__(self, part: IdlePart, meter: Meter) -> None:
        self._part = part
        self._meter = meter
        self._connections = Connections(part.address, part.options.streams_per_connection)
        self._streams = [
            Stream(self._connections.next(), plan.user.token, f"{plan.user.name}/bench") for plan in part.plans
        ]
        self._is_over = asyncio.Event()
        self._failure = ""
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Opens all, and has them watch."""
        hello = chat_pb2.Hello(device_id="bench")
        if self._part.options.heartbeat:
            hello.heartbeat.CopyFrom(duration_pb2.Duration(seconds=int(self._part.options.heartbeat)))
        await open_all([(stream, hello) for stream in self._streams])
        for stream, plan in zip(self._streams, self._part.plans, strict=True):
            if plan.watched:
                await stream.write(chat_pb2.ChatRequest(watch_presence=chat_pb2.WatchPresence(usernames=plan.watched)))
            self._tasks.append(asyncio.create_task(self._read(stream)))

    async def run(self, window: Window) -> None:
        """Waits."""
        while not self._is_over.is_set() and (left_ns := window.start_ns - time.monotonic_ns()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_ns / 1e9):  # which may end some microseconds early
                    await self._is_over.wait()
        self._meter.count("streams", len(self._streams))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, (window.end_ns - time.monotonic_ns()) / 1e9)):
                await self._is_over.wait()
        if self._failure:
            raise RunBroken(self._failure)

    def stop(self) -> None:
        """Ends `run`."""
        self._is_over.set()

    async def renew(self, tokens: Mapping[str, str]) -> None:
        """Goes on with fresh tokens."""
        for stream in self._streams:
            await stream.renew(tokens)

    def last_seqs(self) -> Mapping[str, int]:
        """Nothing is sent."""
        return {}

    async def settle(self, last_seqs: Mapping[str, int], limit_seconds: float) -> None:
        """Nothing is to come."""

    async def close(self) -> None:
        """Hangs up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for stream in self._streams:
            stream.cancel()
        await self._connections.close()

    async def _read(self, stream: Stream) -> None:
        """Takes what comes: presence and heartbeats."""
        try:
            while True:
                frame = chat_pb2.ChatResponse.FromString(await stream.read())
                for name in ("presence", "heartbeats"):
                    if count := len(getattr(frame, name)):
                        self._meter.count(name, count)
        except RunBroken as error:
            self._failure = self._failure or str(error)
            self._is_over.set()
