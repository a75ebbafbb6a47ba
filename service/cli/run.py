"""What the commands about accounts share: running them, reading names and passwords, and printing for programs.

With `--json` a command prints one JSON object; a list, or a command that takes several names, one object a line. Times
are RFC 3339 in UTC. What each object holds is on docs/operations/accounts.md.
"""

import asyncio
import json
import sys
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from service.cli.options import fail

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs, instead of text.")]
NamesArgument = Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="User names.", show_default=False)]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A user name.", show_default=False)]
StdinOption = Annotated[bool, typer.Option("--stdin", help="Read the names from standard input, one a line.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def run(work: Coroutine[object, object, None]) -> None:
    """Runs a command's work; what is wrong is one line on standard error and exit status 1."""
    from service.settings.load import ConfigError
    from service.settings.start_error import StartError

    try:
        asyncio.run(work)
    except (ConfigError, StartError) as error:
        fail(str(error))


def read_names(names: Sequence[str] | None, stdin: bool) -> list[str]:
    """Returns the names of the command line and of standard input."""
    found = list(names or [])
    if stdin:
        # What is not UTF-8 is no legal name, and is refused as such.
        content = sys.stdin.buffer.read().removeprefix(_BYTE_ORDER_MARK).decode(errors="replace")
        found += [line.strip() for line in content.splitlines() if line.strip()]
    if not found:
        raise typer.BadParameter("give at least one name, or --stdin")
    return found


def read_password() -> str:
    """Reads a password from standard input: one line, without its end.

    A byte order mark before it and the carriage return of a CRLF after it are left out, and that is said.
    """
    content = sys.stdin.buffer.read(1 << 16)
    line, _, rest = content.partition(b"\n")
    bare = line.removeprefix(_BYTE_ORDER_MARK).removesuffix(b"\r")
    if bare != line:
        typer.echo("parley: left out the carriage return or byte order mark around the password", err=True)
    if rest.strip():
        fail("standard input holds more than one line; the password is one line")
    if not bare:
        fail("standard input holds no password")
    try:
        return bare.decode()
    except UnicodeDecodeError:
        fail("the password on standard input is not UTF-8")


def confirm(question: str, *, is_sure: bool) -> None:
    """Passes what `--yes` allows, or somebody at a terminal; else ends the command, with nothing done."""
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("standard input is no terminal to ask on: say --yes if that is meant")
    if not typer.confirm(question, err=True):
        fail("nothing was done")


def to_json(value: object, **more: object) -> str:
    """Returns one JSON object of a record and further fields, on one line."""
    fields = _flatten(value) if is_dataclass(value) else dict(value) if isinstance(value, Mapping) else {}
    return json.dumps({**fields, **more}, default=_to_plain)


def to_text(time: datetime | None) -> str:
    """Returns a time for people: to the second, in UTC; "-" for none."""
    return "-" if time is None else time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def echo_row(*columns: object) -> None:
    """Prints columns with a tab between, which `cut` and spreadsheets take."""
    typer.echo("\t".join(str(column) for column in columns))


def _flatten(value: Any) -> dict[str, Any]:
    """Returns the fields of a record; those of a record in it stand beside them."""
    fields: dict[str, Any] = {}
    for name, part in asdict(value).items():
        fields |= part if isinstance(part, dict) else {name: part}
    return fields


def _to_plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    raise TypeError(f"no JSON for {type(value).__name__}")
