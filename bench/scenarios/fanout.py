"""One sender in a large group: what it costs to bring a message to very many streams."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from bench.scenarios.fields import (
    AckOption,
    PerConnectionOption,
    Plain,
    RateOption,
    SizeOption,
    check_rate,
    count_connections,
)
from bench.site import Site
from bench.stream_load import Pace, StreamLoadPart, StreamPlan


@dataclass(frozen=True, slots=True)
class Fanout(Plain):
    """The scenario; the options are its fields."""

    streams: Annotated[int, typer.Option(metavar="N", min=1, help="Streams that read.")] = 1000
    streams_per_user: Annotated[
        int, typer.Option(metavar="N", min=1, max=100, help="Devices of each user that read.")
    ] = 1
    frame: Annotated[int, typer.Option(metavar="N", min=1, max=500, help="Messages a frame.")] = 16
    window: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Closed loop: how many frames may be unanswered, or not yet delivered."),
    ] = 4
    rate: RateOption = None
    size: SizeOption = 100
    ack_seconds: AckOption = 5.0
    streams_per_connection: PerConnectionOption = 1
    name: ClassVar[str] = "fanout"

    @property
    def title(self) -> str:
        """What sets a run apart."""
        pace = f"{self.rate:g}/s offered" if self.rate is not None else f"{self.window} frames outstanding"
        return f"1 sender, {self.streams} streams, {self.frame} a frame, {pace}"

    @property
    def connection_count(self) -> int:
        """Of readers, and the sender's."""
        return count_connections(self.streams, self.streams_per_connection) + 1

    def check(self) -> None:
        """Says no to options that make no sense. Raises: BenchError."""
        check_rate(self.rate)

    async def prepare(self, site: Site, places: int) -> Sequence[StreamLoadPart]:
        """Makes a group of all."""
        sender, *members = await site.users.take(1 + -(-self.streams // self.streams_per_user))
        (group,) = await site.make_groups([(sender, [member.name for member in members])])
        readers = [
            StreamPlan(member.name, member.token, f"bench-{device}", (group.conversation,))
            for member in members
            for device in range(self.streams_per_user)
        ][: self.streams]
        pace = Pace(self.frame, self.window, self.rate, self.ack_seconds, is_held=True)
        run = secrets.token_hex(4)
        sending = (StreamPlan(sender.name, sender.token, "bench-s", (group.conversation,)),)
        return [
            StreamLoadPart(
                address=site.address,
                run=run,
                size_bytes=self.size,
                pace=pace,
                senders=() if place else sending,
                readers=tuple(readers[place::places]),
                base_seqs={group.conversation: group.base_seq},
                streams_a_connection=self.streams_per_connection,
                # The one sender keeps the whole pace.
                place=0,
                places=1,
            )
            for place in range(places)
        ]
