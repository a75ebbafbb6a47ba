"""Options and endings that commands share."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer


def _to_path(text: str) -> Path:
    if not text:
        raise typer.BadParameter("it is empty; leave it out for the default")
    return Path(text)


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", parser=_to_path, help="YAML file with settings (instead of PARLEY_CONFIG)."
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", parser=_to_path, help="Embedded databases, keys, logs. Default: .parley"),
]


def fail(text: str) -> NoReturn:
    """Ends the command with exit status 1, and a line on standard error for each thing that is wrong."""
    for line in text.splitlines():
        typer.echo(f"parley: {line}", err=True)
    raise typer.Exit(1)
