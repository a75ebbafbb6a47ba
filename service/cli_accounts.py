"""The commands about accounts: `parley user ...` and `parley token`."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Annotated

import typer

from service.cli_options import ConfigOption, DataDirOption, fail

user_commands = typer.Typer(help="Make accounts, shut them out, let them in again.", no_args_is_help=True)

_Names = Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="User names.", show_default=False)]
_Stdin = Annotated[bool, typer.Option("--stdin", help="Read names from standard input, one a line.")]


def token_command(
    names: _Names = None,
    stdin: _Stdin = False,
    ttl: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Life of the token. Default: auth.access_token_seconds")
    ] = None,
    device: Annotated[str, typer.Option(metavar="ID", help="The device on which it is used.")] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="SCOPE", help="Lets it do more than its user may: dead_letters, those of all users."),
    ] = None,
    service: Annotated[
        bool,
        typer.Option(
            "--service", help="For programs: make the accounts first that there are not; refuse those with a password."
        ),
    ] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Mint access tokens, for people or for services.

    One name prints the token alone; several print a line `name token` each. A minted token belongs to no login: it
    ends with its time, or when the account is disabled.
    """
    from service import administration

    wanted = _read_names(names, stdin)
    with_names = stdin or len(wanted) > 1

    async def work() -> None:
        settings = administration.open_settings({"data_dir": data_dir}, config)
        if service:
            await administration.create_users(settings, wanted, None, exist_ok=True)
        tokens = await administration.mint_tokens(
            settings, wanted, life_seconds=ttl, device_id=device, scopes=scope or (), for_services=service
        )
        for name, token in tokens.items():
            typer.echo(f"{name} {token}" if with_names else token)

    _run(work())


@user_commands.command("create")
def create(
    names: _Names = None,
    stdin: _Stdin = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input, one line.")
    ] = False,
    exist_ok: Annotated[bool, typer.Option("--exist-ok", help="Leave those as they are that there are.")] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Make accounts.

    Without a password an account can't log in; it uses tokens that `parley token` mints.
    """
    from service import administration

    if stdin and password_stdin:
        raise typer.BadParameter("standard input holds either names or a password")
    password = sys.stdin.readline().rstrip("\n") if password_stdin else None
    wanted = _read_names(names, stdin)

    async def work() -> None:
        settings = administration.open_settings({"data_dir": data_dir}, config)
        for name in await administration.create_users(settings, wanted, password, exist_ok=exist_ok):
            typer.echo(f"made {name}")

    _run(work())


@user_commands.command("disable")
def disable(
    names: _Names = None, stdin: _Stdin = False, data_dir: DataDirOption = None, config: ConfigOption = None
) -> None:
    """Shut accounts out: their logins, tokens and streams end within seconds."""
    _set_disabled(_read_names(names, stdin), data_dir, config, is_disabled=True)


@user_commands.command("enable")
def enable(
    names: _Names = None, stdin: _Stdin = False, data_dir: DataDirOption = None, config: ConfigOption = None
) -> None:
    """Let accounts in again; logins that were ended stay so."""
    _set_disabled(_read_names(names, stdin), data_dir, config, is_disabled=False)


def _set_disabled(names: list[str], data_dir: DataDirOption, config: ConfigOption, *, is_disabled: bool) -> None:
    from service import administration

    async def work() -> None:
        settings = administration.open_settings({"data_dir": data_dir}, config)
        for name in await administration.set_disabled(settings, names, is_disabled=is_disabled):
            typer.echo(f"{'disabled' if is_disabled else 'enabled'} {name}")

    _run(work())


def _read_names(names: list[str] | None, stdin: bool) -> list[str]:
    found = list(names or [])
    if stdin:
        found += [line.strip() for line in sys.stdin if line.strip()]
    if not found:
        raise typer.BadParameter("give at least one name, or --stdin")
    return found


def _run(work: Coroutine[object, object, None]) -> None:
    from service.loading import ConfigError
    from service.start_error import StartError

    try:
        asyncio.run(work)
    except (ConfigError, StartError) as error:
        fail(str(error))
