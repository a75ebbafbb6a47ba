"""Options that several scenarios have, and what they all do with them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, ClassVar, cast

import typer

from bench.connections import STREAMS_A_CONNECTION
from bench.errors import BenchError
from bench.results import ProcessUse
from bench.texts import SHORTEST_BYTES
from bench.window import Times

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RateOption = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        help="Open loop: messages a second in all, sent at their times whether the server keeps up or not. Default: "
        "closed loop, as fast as answers come.",
    ),
]
SizeOption = Annotated[int, typer.Option(metavar="BYTES", min=SHORTEST_BYTES, max=16_384, help="Size of the texts.")]

AckOption = Annotated[float, typer.Option(metavar="SECONDS", min=0, help="How often readers acknowledge; 0: never.")]
PerConnectionOption = Annotated[
    int, typer.Option(metavar="N", min=1, max=STREAMS_A_CONNECTION, help="Streams that share a connection.")
]
GroupsOption = Annotated[int, typer.Option(metavar="N", min=1, help="Groups that each user is in.")]
MembersOption = Annotated[int, typer.Option(metavar="N", min=2, max=500, help="Users in each group.")]
WatchedOption = Annotated[
    int, typer.Option(metavar="N", min=0, max=500, help="Users whose presence each stream watches, of its groups.")
]


def check_rate(rate: float | None, without: str = "send as fast as answers come") -> None:
    """Says no to a rate at which nothing is ever sent; `without` is what is done without one. Raises: BenchError."""
    if rate is not None and not 0.1 <= rate <= 10_000_000:
        raise BenchError(f"--rate {rate:g}: give 0.1 to 10,000,000, or leave it out to {without}")


def count_connections(stream_count: int, streams_each: int) -> int:
    """How many connections so many streams take."""
    return -(-stream_count // streams_each)


class Plain:
    """A scenario without figures of its own, measured while it sends."""

    __slots__ = ()
    needs_baseline: ClassVar[bool] = False

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool]:
        """The options as they were given or by default; those that are not set are left out."""
        given = asdict(cast("DataclassInstance", self))
        return {name: value for name, value in given.items() if value is not None}

    def check(self) -> None:
        """Has nothing to say no to."""

    def times(self, given: Times) -> Times:
        """As given."""
        return given

    def figures(
        self, uses: Sequence[ProcessUse], baseline: Sequence[ProcessUse], counts: Mapping[str, int], seconds: float
    ) -> Mapping[str, float]:
        """None."""
        return {}


class SharingConnections(Plain):
    """A scenario of streams that may share connections."""

    __slots__ = ()
    streams: int
    streams_per_connection: int

    @property
    def connection_count(self) -> int:
        """Of the streams."""
        return count_connections(self.streams, self.streams_per_connection)
