"""A storm: very many devices that were here before connect at once, and want what they missed."""

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import typer
from parley.v1 import chat_pb2

from bench.at_once import at_once
from bench.connections import Address, Connections
from bench.errors import BenchError, RunBroken
from bench.filling import fill
from bench.meter import Meter, now_us
from bench.population import make_population
from bench.reading import Frames
from bench.results import Verification
from bench.scenarios.fields import GroupsOption, MembersOption, PerConnectionOption, SharingConnections
from bench.site import Site
from bench.streams import Stream
from bench.texts import Texts
from bench.users import User
from bench.verify import Acks, Brought, Evidence, Logs, Reader
from bench.window import Times, Window

_DEVICE = "bench"
_LIMIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Connect(SharingConnections):
    """The scenario; the options are its fields."""

    streams: Annotated[int, typer.Option(metavar="N", min=2, help="Devices, of a user each.")] = 1000
    conversations: GroupsOption = 20
    members: MembersOption = 10
    backlog: Annotated[
        int, typer.Option(metavar="N", min=0, help="Messages that were sent to each group meanwhile.")
    ] = 1
    streams_per_connection: PerConnectionOption = 1
    name: ClassVar[str] = "connect"

    @property
    def title(self) -> str:
        """What sets a run apart."""
        return f"{self.streams:,} devices, {self.conversations} conversations each, {self.backlog} missed in each"

    def times(self, given: Times) -> Times:
        """It is over when all are level, and has no warm-up."""
        return replace(given, warmup=0.0, measured=_LIMIT_SECONDS)

    async def prepare(self, site: Site, places: int) -> Sequence["ConnectPart"]:
        """Makes users and groups, has each device connect and acknowledge once, then writes what they miss."""
        population = await make_population(site, self.streams, self.conversations, self.members)
        users, own = population.users, population.list_conversations()
        run = secrets.token_hex(4)
        texts = Texts(run, 100)
        made: dict[str, list[str]] = {user.name: [] for user in users}
        for group, members in population.groups:
            made[members[0].name].append(group.conversation)

        async def write(place: tuple[int, User], count: int) -> Mapping[str, Acks]:
            index, user = place
            return await fill(site.address, user, index, dict.fromkeys(made[user.name], count), texts)

        numbered = list(enumerate(users))
        await at_once(lambda place: write(place, 1), numbered)
        await _acknowledge(site.address, users, own)
        later = list(enumerate(users, len(users)))
        missed = await at_once(lambda place: write(place, self.backlog), later) if self.backlog else []
        acks = {name: each for one in missed for name, each in one.items()}
        return [
            ConnectPart(
                address=site.address,
                run=run,
                plans=tuple((user, tuple(own[user.name])) for user in users[place::places]),
                acks=acks,
                is_witness=place == 0,
                streams_a_connection=self.streams_per_connection,
            )
            for place in range(places)
        ]


async def _acknowledge(address: Address, users: Sequence[User], own: Mapping[str, Sequence[str]]) -> None:
    """Has each device connect, take all there is, acknowledge it and leave as is proper."""

    async def visit(user: User) -> None:
        connections = Connections(address)
        stream = Stream(connections.next(), user.token, user.name)
        try:
            await stream.open(chat_pb2.Hello(device_id=_DEVICE))
            positions = [chat_pb2.Position(conversation_id=name, seq=1) for name in own[user.name]]
            await stream.write(chat_pb2.ChatRequest(ack=chat_pb2.AckFrame(positions=positions)))
            await stream.finish()
        except RunBroken as error:
            raise BenchError(f"the devices could not be made ready: {error}") from error
        finally:
            stream.cancel()
            await connections.close()

    await at_once(visit, users)


@dataclass(frozen=True, slots=True)
class ConnectPart:
    """One generator's part.

    Attributes:
        plans: users and their conversations.
        acks: what was sent meanwhile.
        is_witness: whether this one gives `acks` as evidence, for all.
    """

    address: Address
    run: str
    plans: tuple[tuple[User, tuple[str, ...]], ...]
    acks: Mapping[str, Acks]
    is_witness: bool
    streams_a_connection: int

    def start(self, meter: Meter) -> "Storm":
        """Makes the load."""
        return Storm(self, meter)


class Storm:
    """The load; see `bench.load.Load`."""

    def __init__(self, part: ConnectPart, meter: Meter) -> None:
        self._part = part
        self._meter = meter
        self._connections = Connections(part.address, part.streams_a_connection)
        self._logs = Logs(Texts(part.run, 100), {name: 1 for _, names in part.plans for name in names})
        self._frames = Frames(self._logs, meter, is_shared=False)
        self._devices = [
            (Stream(self._connections.next(), user.token, user.name), Reader(dict.fromkeys(names, 1)))
            for user, names in part.plans
        ]
        self._working: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connects with `run`."""

    async def run(self, window: Window) -> None:
        """Has all connect at once, and waits until each has what it missed."""
        await asyncio.sleep(max(0.0, (window.begin_ns - time.monotonic_ns()) / 1e9))
        self._working = asyncio.create_task(self._connect_all(window))
        try:
            await asyncio.wait_for(asyncio.shield(self._working), _LIMIT_SECONDS)
        except TimeoutError:
            raise RunBroken(f"not all devices were level after {_LIMIT_SECONDS:.0f} s") from None
        except asyncio.CancelledError:
            if self._working.cancelled():
                return
            raise

    def stop(self) -> None:
        """Ends `run`."""
        if self._working is not None:
            self._working.cancel()

    async def renew(self, tokens: Mapping[str, str]) -> None:
        """Goes on with fresh tokens."""
        for stream, _ in self._devices:
            await stream.renew(tokens)

    def last_seqs(self) -> Mapping[str, int]:
        """Nothing was sent."""
        return {}

    async def settle(self, last_seqs: Mapping[str, int], limit_seconds: float) -> None:
        """All has come."""

    async def close(self) -> Evidence:
        """Hangs up."""
        for stream, _ in self._devices:
            stream.cancel()
        await self._connections.close()
        readers = [reader for _, reader in self._devices]
        found = Verification(
            checked=sum(reader.checked for reader in readers),
            doubled=self._logs.doubled + sum(reader.doubled for reader in readers),
            disordered=self._logs.disordered + sum(reader.disordered for reader in readers),
            altered=self._logs.altered,
        )
        brought = [
            Brought(name, next_seq, frozenset(reader.missing.get(name, ())))
            for stream, reader in self._devices
            if stream.is_level
            for name, next_seq in reader.next_seqs.items()
        ]
        acks = {name: (each,) for name, each in self._part.acks.items()} if self._part.is_witness else {}
        logs = {name: (log.base_seq, log.keys) for name, log in self._logs.logs.items()}
        return Evidence(acks, logs, brought, found)

    async def _connect_all(self, window: Window) -> None:
        begin_us = window.begin_ns // 1000

        async def connect(stream: Stream, reader: Reader) -> None:
            def take(data: bytes) -> None:
                runs = self._frames.take(data, None)
                if runs:
                    self._meter.count("delivered", reader.advance(runs))

            await stream.open(chat_pb2.Hello(device_id=_DEVICE), on_frame=take)
            self._meter.time("welcome", begin_us, stream.welcome_us)
            self._meter.time("caught_up", begin_us, now_us())
            self._meter.count("streams")

        await at_once(lambda device: connect(*device), self._devices, len(self._devices))
