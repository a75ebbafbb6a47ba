"""People: they send at a pace, read, acknowledge, type, watch each other, and repeat what they are not sure of."""

import asyncio
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer
from parley.v1 import chat_pb2

from bench.meter import Meter
from bench.population import make_population
from bench.reading import ReadingStream
from bench.scenarios.fields import (
    GroupsOption,
    MembersOption,
    PerConnectionOption,
    SharingConnections,
    SizeOption,
    WatchedOption,
    check_rate,
)
from bench.sending import Sender
from bench.site import Site
from bench.stream_load import Pace, StreamLoad, StreamLoadPart, StreamPlan
from bench.streams import Stream
from bench.window import Window

_TYPING_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Mixed(SharingConnections):
    """The scenario; the options are its fields."""

    streams: Annotated[int, typer.Option(metavar="N", min=2, help="People, of a stream each.")] = 200
    conversations: GroupsOption = 5
    members: MembersOption = 10
    rate: Annotated[float, typer.Option(metavar="N", help="Messages a second that all together send, open loop.")] = 200
    typing: Annotated[int, typer.Option(metavar="N", min=0, help="Signs of typing a second, of all together.")] = 100
    repeat_every: Annotated[
        int, typer.Option(metavar="N", min=0, help="Each Nth message is sent twice, with one request id; 0: none.")
    ] = 50
    watched: WatchedOption = 10
    size: SizeOption = 100
    ack_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="How often people acknowledge, and say what they read.")
    ] = 2.0
    streams_per_connection: PerConnectionOption = 1
    name: ClassVar[str] = "mixed"

    @property
    def title(self) -> str:
        """What sets a run apart."""
        return f"{self.streams:,} people in groups of {self.members}, {self.rate:g} messages/s offered"

    def check(self) -> None:
        """Says no to options that make no sense. Raises: BenchError."""
        check_rate(self.rate, without="send 200")

    async def prepare(self, site: Site, places: int) -> Sequence["MixedPart"]:
        """Makes the people and their groups."""
        population = await make_population(site, self.streams, self.conversations, self.members)
        own, watched = population.list_conversations(), population.list_known(self.watched)
        people = [
            StreamPlan(user.name, user.token, "bench", tuple(own[user.name]), index)
            for index, user in enumerate(population.users)
        ]
        run = secrets.token_hex(4)
        base_seqs = {group.conversation: group.base_seq for group, _ in population.groups}
        parts = []
        for place in range(places):
            mine = people[place::places]
            names = {name for plan in mine for name in plan.conversations}
            parts.append(
                MixedPart(
                    address=site.address,
                    run=run,
                    size_bytes=self.size,
                    pace=Pace(1, 1, self.rate, self.ack_seconds),
                    senders=(),
                    readers=tuple(mine),
                    base_seqs={name: base_seqs[name] for name in names},
                    streams_a_connection=self.streams_per_connection,
                    place=place,
                    places=places,
                    options=self,
                    watched={plan.username: watched[plan.username] for plan in mine},
                )
            )
        return parts


@dataclass(frozen=True, slots=True)
class MixedPart(StreamLoadPart):
    """One generator's part; `readers` are the people, who send on the same streams.

    Attributes:
        watched: by user, whose presence.
    """

    options: Mixed
    watched: Mapping[str, tuple[str, ...]]

    def start(self, meter: Meter) -> "People":
        """Makes the load."""
        return People(self, meter)


class People(StreamLoad):
    """The load; see `bench.load.Load`."""

    def __init__(self, part: MixedPart, meter: Meter) -> None:
        self._people = part
        super().__init__(part, meter)

    async def open(self) -> None:
        """Opens all, and has them watch."""
        await super().open()
        for (stream, _), plan in zip(self._streams, self._people.readers, strict=True):
            if names := self._people.watched[plan.username]:
                await stream.write(chat_pb2.ChatRequest(watch_presence=chat_pb2.WatchPresence(usernames=names)))

    async def run(self, window: Window) -> None:
        """Lives until the window ends."""
        if self._people.options.typing:
            self._start(self._type())
        await super().run(window)

    def _make_streams(self) -> None:
        for plan in self._people.readers:
            stream = Stream(self._connections.next(), plan.token, f"{plan.username}/{plan.device_id}")
            hello = chat_pb2.Hello(device_id=plan.device_id, start=chat_pb2.START_LATEST, watch_receipts=True)
            self._streams.append((stream, hello))
            every = self._people.options.repeat_every
            sender = Sender(stream, plan.index, plan.conversations, self._texts, self._meter, 1, every)
            self._stream_senders.append(sender)
            self._senders.append(sender)
            base_seqs = {name: self._people.base_seqs[name] for name in plan.conversations}
            self._readers.append(ReadingStream(stream, base_seqs, self._frames, self._meter, sender))

    async def _acknowledge(self) -> None:
        """Everybody in turn, so that not all do at once."""
        pause = self._people.options.ack_seconds / max(1, len(self._readers))
        while True:
            for reading in self._readers:
                await asyncio.sleep(pause)
                await reading.acknowledge(is_read=True)

    async def _type(self) -> None:
        lot = random.Random(self._people.place)  # noqa: S311 - who types when, no secret
        each = self._people.options.typing * _TYPING_SECONDS / self._people.places
        owed = 0.0
        while True:
            await asyncio.sleep(_TYPING_SECONDS)
            owed += each
            while owed >= 1:
                owed -= 1
                nth = lot.randrange(len(self._streams))
                conversation = lot.choice(self._people.readers[nth].conversations)
                typing = chat_pb2.TypingFrame(conversation_id=conversation, active=True)
                await self._streams[nth][0].write(chat_pb2.ChatRequest(typing=typing))
                self._meter.count("typed")
