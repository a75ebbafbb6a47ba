"""The command `parley token`."""

from typing import Annotated

import typer

from service.cli.options import ConfigOption, DataDirOption
from service.cli.run import NamesArgument, StdinOption, read_names, run


def token_command(
    names: NamesArgument = None,
    stdin: StdinOption = False,
    ttl: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Life of the token. Default: auth.access_token_seconds")
    ] = None,
    device: Annotated[str, typer.Option(metavar="ID", help="The device on which it is used.")] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE",
            help="A right that the user alone does not have. dead_letters: the dead letters of all users.",
        ),
    ] = None,
    service: Annotated[
        bool,
        typer.Option(
            "--service",
            help="The token is for a program. An account that does not exist yet is made, without a password. An"
            " account with a password is refused: whoever has the password could read and write as the program.",
        ),
    ] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Print access tokens, for people or for programs, without a login.

    One name prints the token alone; several print a line `name token` each. The token ends with its time, or when
    `parley user disable`, `logout`, `password` or `delete` ends all of the account's.
    """
    from service.cli.admin import opening, tokens

    wanted = read_names(names, stdin)
    with_names = stdin or len(wanted) > 1

    async def work() -> None:
        settings = opening.open_settings({"data_dir": data_dir}, config)
        made = await tokens.mint_tokens(
            settings, wanted, life_seconds=ttl, device_id=device, scopes=scope or (), for_services=service
        )
        for name, token in made.items():
            typer.echo(f"{name} {token}" if with_names else token)

    run(work())
