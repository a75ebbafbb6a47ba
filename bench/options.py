"""The options that all scenarios take, and how a scenario's own come beside them on the command line."""

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from bench.connections import Address
from bench.errors import BenchError

_S = TypeVar("_S")


@dataclass(frozen=True, slots=True)
class Common:
    """Where, how long, and where to write."""

    target: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="A server that runs. Default: one is started for the run, on the databases of PARLEY_DATABASE_URL and "
            "PARLEY_REDIS_URL where they are set, else on private ones that go away with it.",
        ),
    ] = None
    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS with the target.")] = False
    tls_ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="PEM certificates to trust instead of the system's; implies --tls."),
    ] = None
    tls_server_name: Annotated[
        str, typer.Option(metavar="NAME", help="The name in the target's certificate, if it is not its host.")
    ] = ""
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Users of the target: lines of `name token`, as `parley token` prints. Default: users are registered, "
            "and deleted at the end.",
        ),
    ] = None
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, max=64, help="Worker processes of a server that is started.")
    ] = 1
    generators: Annotated[
        int, typer.Option(metavar="N", min=1, max=64, help="Processes that make the load; more for more cores.")
    ] = 1
    warmup: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long to send before anything is measured.")
    ] = 3.0
    seconds: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="How long to measure.")] = 10.0
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with pictures, which needs nothing else.")
    ] = None
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the result there, for `parley bench compare`.")
    ] = None

    def address(self) -> Address | None:
        """The target's; None: a server is to be started.

        Raises:
            BenchError: options that exclude each other, or a file that can't be read.
        """
        if self.target is None:
            for name in ("tls", "tls_ca", "tls_server_name", "token_file"):
                if getattr(self, name):
                    raise BenchError(f"--{name.replace('_', '-')} needs a --target")
            return None
        host, _, port = self.target.rpartition(":")
        if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65_536:
            raise BenchError(f"--target {self.target}: not HOST:PORT")
        try:
            ca = self.tls_ca.read_bytes() if self.tls_ca else None
        except OSError as error:
            raise BenchError(f"--tls-ca can't be read: {error}") from error
        return Address(self.target, self.tls or ca is not None, ca, self.tls_server_name)


def command_of(scenario: type[_S], run: Callable[[_S, Common], None], text: str) -> Callable[..., None]:
    """A function with the options of a scenario's dataclass and the common ones, for typer to read.

    Args:
        scenario: a dataclass whose fields are annotated with `typer.Option`.
        run: called with the scenario and the common options.
        text: the command's help.
    """

    def command(**given: Any) -> None:
        common = {name: given.pop(name) for name in _fields(Common)}
        run(scenario(**given), Common(**common))

    parameters = {**_fields(scenario), **_fields(Common)}
    command.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    command.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
    command.__doc__ = text
    return command


def _fields(kind: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a dataclass, by keyword, with their types resolved."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {
        name: parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(kind).parameters.items()
    }
