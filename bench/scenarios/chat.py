"""Streams that send, and a stream of another user that reads, in each conversation: the headline."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from bench.errors import BenchError
from bench.scenarios.fields import AckOption, Plain, RateOption, SizeOption, check_rate
from bench.site import Site
from bench.stream_load import Pace, StreamLoadPart, StreamPlan
from bench.texts import Texts

_DEFAULT_STREAMS = 16


@dataclass(frozen=True, slots=True)
class Chat(Plain):
    """The scenario; the options are its fields."""

    conversations: Annotated[
        int, typer.Option(metavar="N", min=1, help="Groups, dealt to the sending streams in turn.")
    ] = 8
    streams: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Streams that send, of a user each. Default: one a conversation, 16 at most."
        ),
    ] = None
    readers: Annotated[
        int, typer.Option(metavar="N", min=1, max=100, help="Streams that read each conversation, of another user.")
    ] = 1
    frame: Annotated[int, typer.Option(metavar="N", min=1, max=500, help="Messages a frame.")] = 20
    spread: Annotated[
        bool, typer.Option("--spread", help="Send the messages of a frame to the stream's conversations in turn.")
    ] = False
    window: Annotated[
        int, typer.Option(metavar="N", min=1, help="Closed loop: how many frames of a stream may be unanswered.")
    ] = 4
    stored: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Messages that are in the logs before, dealt to the conversations. A server that is started has them "
            "put into its database; to a --target they are sent.",
        ),
    ] = None
    rate: RateOption = None
    size: SizeOption = 100
    ack_seconds: AckOption = 1.0
    name: ClassVar[str] = "chat"

    @property
    def stream_count(self) -> int:
        """How many streams send."""
        return self.streams or min(self.conversations, _DEFAULT_STREAMS)

    @property
    def connection_count(self) -> int:
        """Each stream has its own."""
        return self.stream_count * (1 + self.readers)

    def check(self) -> None:
        """Says no to options that make no sense. Raises: BenchError."""
        check_rate(self.rate)
        if self.stream_count > self.conversations:
            raise BenchError(f"--streams {self.stream_count}: more than --conversations {self.conversations}")

    @property
    def title(self) -> str:
        """What sets a run apart."""
        pace = f"{self.rate:g}/s offered" if self.rate is not None else f"{self.window} frames outstanding"
        spread = ", spread" if self.spread else ""
        frame = "1 message" if self.frame == 1 else f"{self.frame} messages"
        stored = "" if self.stored is None else f", {self.stored:,} stored before"
        readers = "" if self.readers == 1 else f", {self.readers} readers each"
        conversations = f"{self.conversations} conversations{readers}"
        return f"{self.stream_count} streams, {conversations}, {frame} a frame{spread}, {pace}{stored}"

    async def prepare(self, site: Site, places: int) -> Sequence[StreamLoadPart]:
        """Makes a pair of users for each sending stream, and their conversations."""
        users = await site.users.take(2 * self.stream_count)
        sending, reading = users[: self.stream_count], users[self.stream_count :]
        groups = await site.make_groups(
            [
                (sending[nth % self.stream_count], [reading[nth % self.stream_count].name])
                for nth in range(self.conversations)
            ]
        )
        if self.stored is not None:
            writers = [sending[nth % self.stream_count] for nth in range(self.conversations)]
            groups = await site.fill(groups, writers, self.stored, Texts(secrets.token_hex(4), self.size))
        pace = Pace(self.frame, self.window, self.rate, self.ack_seconds, is_spread=self.spread)
        run = secrets.token_hex(4)
        parts = []
        for place in range(places):
            senders, readers = [], []
            base_seqs: dict[str, int] = {}
            for nth in range(place, self.stream_count, places):
                mine = groups[nth :: self.stream_count]
                own = tuple(group.conversation for group in mine)
                base_seqs |= {group.conversation: group.base_seq for group in mine}
                senders.append(StreamPlan(sending[nth].name, sending[nth].token, "bench-s", own, nth))
                readers += [
                    StreamPlan(reading[nth].name, reading[nth].token, f"bench-{device}", own)
                    for device in range(self.readers)
                ]
            parts.append(
                StreamLoadPart(
                    address=site.address,
                    run=run,
                    size_bytes=self.size,
                    pace=pace,
                    senders=tuple(senders),
                    readers=tuple(readers),
                    base_seqs=base_seqs,
                    streams_a_connection=1,
                    place=place,
                    places=places,
                )
            )
        return parts
