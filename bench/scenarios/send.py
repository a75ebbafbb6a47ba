"""Unary `Send`, many calls outstanding; a stream of another user reads each conversation."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from bench.errors import BenchError
from bench.scenarios.fields import (
    AckOption,
    Plain,
    RateOption,
    SizeOption,
    check_rate,
    count_connections,
)
from bench.site import Site
from bench.stream_load import Pace, StreamLoadPart, StreamPlan

_CALLS_A_CONNECTION = 8


@dataclass(frozen=True, slots=True)
class Send(Plain):
    """The scenario; the options are its fields."""

    outstanding: Annotated[
        int, typer.Option(metavar="N", min=1, help="Calls at once, each after the answer to the one before.")
    ] = 64
    conversations: Annotated[
        int, typer.Option(metavar="N", min=1, help="Groups, of a sending and a reading user each.")
    ] = 8
    rate: RateOption = None
    size: SizeOption = 100
    ack_seconds: AckOption = 1.0
    name: ClassVar[str] = "send"

    @property
    def title(self) -> str:
        """What sets a run apart."""
        pace = "" if self.rate is None else f", {self.rate:g}/s offered"
        return f"unary, {self.outstanding} outstanding, {self.conversations} conversations{pace}"

    @property
    def connection_count(self) -> int:
        """Some calls share one, and readers, too."""
        return count_connections(self.outstanding + self.conversations, _CALLS_A_CONNECTION)

    def check(self) -> None:
        """Says no to options that make no sense. Raises: BenchError."""
        check_rate(self.rate)
        if self.outstanding < self.conversations:
            raise BenchError(f"--outstanding {self.outstanding}: less than --conversations {self.conversations}")

    async def prepare(self, site: Site, places: int) -> Sequence[StreamLoadPart]:
        """Makes a pair of users for each conversation."""
        users = await site.users.take(2 * self.conversations)
        sending, reading = users[: self.conversations], users[self.conversations :]
        groups = await site.make_groups(
            [(sender, [reader.name]) for sender, reader in zip(sending, reading, strict=True)]
        )
        pace = Pace(1, 1, self.rate, self.ack_seconds, is_unary=True)
        run = secrets.token_hex(4)
        parts = []
        for place in range(places):
            own = range(place, self.conversations, places)
            senders = [
                StreamPlan(sending[at].name, sending[at].token, "bench-s", (groups[at].conversation,), nth)
                for nth in range(self.outstanding)
                if (at := nth % self.conversations) in own
            ]
            readers = [
                StreamPlan(reading[at].name, reading[at].token, "bench", (groups[at].conversation,)) for at in own
            ]
            base_seqs = {groups[at].conversation: groups[at].base_seq for at in own}
            parts.append(
                StreamLoadPart(
                    address=site.address,
                    run=run,
                    size_bytes=self.size,
                    pace=pace,
                    senders=tuple(senders),
                    readers=tuple(readers),
                    base_seqs=base_seqs,
                    streams_a_connection=_CALLS_A_CONNECTION,
                    place=place,
                    places=places,
                )
            )
        return parts
