"""Options that several scenarios have, and what they all do with them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from bench.errors import BenchError
from bench.texts import SHORTEST_BYTES

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


def check_rate(rate: float | None) -> None:
    """Says no to a rate at which nothing is ever sent. Raises: BenchError."""
    if rate is not None and not 0.1 <= rate <= 10_000_000:
        raise BenchError(f"--rate {rate:g}: give 0.1 or more, or leave it out to send as fast as answers come")


def to_parameters(scenario: "DataclassInstance") -> Mapping[str, str | int | float | bool]:
    """The options of a scenario as they were given or by default; those that are not set are left out."""
    return {name: value for name, value in asdict(scenario).items() if value is not None}
