"""Pages of a long history: what `Pull` costs, and whether it grows with the length of the log."""

import asyncio
import random
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer
from grpc import aio
from parley.v1 import message_pb2

from bench.connections import (
    Address,
    Connections,
    delay_of_status,
    in_words,
    reason_of_status,
    status_of,
    stub_of,
    to_metadata,
)
from bench.errors import RunBroken
from bench.meter import Meter, now_us
from bench.results import Verification
from bench.scenarios.fields import Plain, SizeOption
from bench.site import Site
from bench.texts import Texts
from bench.users import User
from bench.verify import Evidence
from bench.window import Window

_CALL_SECONDS = 30.0
_PASSING = frozenset({"RESOURCE_EXHAUSTED"})


@dataclass(frozen=True, slots=True)
class Pull(Plain):
    """The scenario; the options are its fields."""

    history: Annotated[int, typer.Option(metavar="N", min=1, help="Messages in the log, written before.")] = 10_000
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=500, help="Messages a page.")] = 20
    outstanding: Annotated[int, typer.Option(metavar="N", min=1, help="Calls at once.")] = 1
    size: SizeOption = 100
    seed: Annotated[int, typer.Option(metavar="N", help="Of the places in the log that are read.")] = 1
    name: ClassVar[str] = "pull"

    @property
    def title(self) -> str:
        """What sets a run apart."""
        return f"pages of {self.limit} anywhere in a log of {self.history:,}, {self.outstanding} at once"

    @property
    def connection_count(self) -> int:
        """One for each call at once."""
        return self.outstanding

    async def prepare(self, site: Site, places: int) -> Sequence["PullPart"]:
        """Writes the history."""
        writer, reader = await site.users.take(2)
        groups = await site.make_groups([(writer, [reader.name])])
        run = secrets.token_hex(4)
        (group,) = await site.fill(groups, [writer], self.history, Texts(run, self.size))
        lanes = [len(range(place, self.outstanding, places)) for place in range(places)]
        return [
            PullPart(site.address, reader, group.conversation, self, run, self.seed + place, count)
            for place, count in enumerate(lanes)
        ]


@dataclass(frozen=True, slots=True)
class PullPart:
    """One generator's part.

    Attributes:
        lanes: how many calls it has outstanding.
    """

    address: Address
    reader: User
    conversation: str
    options: Pull
    run: str
    seed: int
    lanes: int

    def start(self, meter: Meter) -> "Pulling":
        """Makes the load."""
        return Pulling(self, meter)


class Pulling:
    """The load; see `bench.load.Load`. The nth message of the log has number n, so each page is known beforehand."""

    def __init__(self, part: PullPart, meter: Meter) -> None:
        self._part = part
        self._meter = meter
        self._connections = Connections(part.address)
        self._texts = Texts(part.run, part.options.size)
        self._metadata = to_metadata(part.reader.token)
        self._is_over = False
        self._random = random.Random(part.seed)  # noqa: S311 - places in a log, no secrets
        self._found = {"checked": 0, "lost": 0, "doubled": 0, "disordered": 0, "altered": 0}

    async def open(self) -> None:
        """Connects with the first call of `run`."""

    async def run(self, window: Window) -> None:
        """Pulls until the window ends."""
        await asyncio.sleep(max(0.0, (window.begin_ns - time.monotonic_ns()) / 1e9))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._part.lanes):
                    group.create_task(self._pull_on(window.end_ns))
        except* RunBroken as errors:
            raise errors.exceptions[0] from None

    def stop(self) -> None:
        """Ends `run`."""
        self._is_over = True

    async def renew(self, tokens: Mapping[str, str]) -> None:
        """Goes on with fresh tokens."""
        if token := tokens.get(self._part.reader.name):
            self._metadata = to_metadata(token)

    def last_seqs(self) -> Mapping[str, int]:
        """Nothing is sent."""
        return {}

    async def settle(self, last_seqs: Mapping[str, int], limit_seconds: float) -> None:
        """Nothing is to come."""

    async def close(self) -> Evidence:
        """Hangs up."""
        await self._connections.close()
        return Evidence({}, {}, (), Verification(**self._found))

    async def _pull_on(self, end_ns: int) -> None:
        options, stub = self._part.options, stub_of(self._connections.next())
        while not self._is_over and time.monotonic_ns() < end_ns:
            cursor = self._random.randint(1, max(1, options.history - options.limit + 1))
            request = message_pb2.PullRequest(
                conversation_id=self._part.conversation, cursor=cursor, limit=options.limit
            )
            begin = now_us()
            try:
                answer = await stub.Pull(request, metadata=self._metadata, timeout=_CALL_SECONDS)
            except aio.AioRpcError as error:
                status = status_of(error)
                self._meter.error(reason_of_status(status))
                if error.code().name not in _PASSING:
                    raise RunBroken(f"Pull: {in_words(error)}") from error
                await asyncio.sleep(delay_of_status(status))
                continue
            self._meter.time("pull", begin, now_us())
            self._meter.count("pages")
            self._meter.count("pulled", len(answer.messages))
            self._check(cursor, answer.messages)

    def _check(self, cursor: int, messages: Sequence[message_pb2.Message]) -> None:
        """Compares a page with what was written there."""
        found = self._found
        found["checked"] += len(messages)
        expected = range(cursor, min(cursor + self._part.options.limit, self._part.options.history + 1))
        found["lost"] += max(0, len(expected) - len(messages))
        for seq, message in zip(expected, messages, strict=False):
            said = self._texts.read(message.text)
            if message.seq != seq:
                found["disordered"] += 1
            elif said is None or said[:2] != (0, seq):
                found["altered"] += 1
