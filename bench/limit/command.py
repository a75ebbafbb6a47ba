"""`parley bench limit`: what it takes and prints."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from bench.errors import BenchError
from bench.limit.measure import LimitError, is_in_memory, measure_limits
from bench.machine import describe_machine
from bench.output import check_place, in_words
from bench.report.words import describe_limits
from bench.results import Report


def limit_command(
    seconds: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="How long each limit is measured.")] = 3.0,
    directory: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Measure the disk that this is on. Default: the temporary directory.",
            exists=True,
            file_okay=False,
            writable=True,
        ),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write them as a report.")] = None,
) -> None:
    """Measure what this machine could do at most, with nothing of Parley in between.

    Group commit of the same rows, streams that echo, Redis PUBLISH, and writes that the disk keeps; each alone, on
    private databases that are gone afterwards.
    """
    console, notes = Console(), Console(stderr=True)
    time = datetime.now(UTC).isoformat(timespec="seconds")
    if is_in_memory(directory):
        notes.print("parley: that directory is in memory: what is said of commits and the disk holds for no disk")
    try:
        check_place(json_file)
        with notes.status("") as status:
            limits = measure_limits(seconds, directory=directory, tell=lambda words: status.update(f"{words} ..."))
    except (LimitError, BenchError) as error:
        _fail(str(error))
    table = Table("limit", box=None, pad_edge=False, show_header=False)
    table.add_column("value", justify="right")
    for words, value in describe_limits(limits):
        table.add_row(words, value)
    console.print(table)
    if json_file is not None:
        try:
            Report(" ".join(["parley", *sys.argv[1:]]), time, describe_machine(), (), limits).write(json_file)
        except OSError as error:
            _fail(in_words(error))


def _fail(text: str) -> NoReturn:
    typer.echo(f"parley: {text}", err=True)
    raise typer.Exit(1)
