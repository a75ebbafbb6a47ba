"""The commands `parley user delete` and `parley user export`: what somebody may ask for under data protection law."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import ConfigOption, DataDirOption
from service.cli.run import JsonOption, NameArgument, YesOption, confirm, run, to_json


def delete_user_command(
    name: NameArgument,
    messages: Annotated[
        bool,
        typer.Option(
            "--messages", help="Take the content out of all messages of the user, too; the others see empty ones."
        ),
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Delete an account for good, or go on where a deletion was cut off.

    Its logins, tokens and streams end within seconds, and its name is never given again. It leaves all groups; where it
    was the only owner, the member with the highest role becomes owner. Its profile, devices and positions go. Messages
    stay as they are, unless --messages says otherwise.
    """
    from service.cli.admin import erasure, opening, users

    async def check() -> None:
        await users.get_summary(opening.open_settings({"data_dir": data_dir}, config), name)

    async def work() -> None:
        settings = opening.open_settings({"data_dir": data_dir}, config)
        deleted = await erasure.delete_user(
            settings,
            name,
            with_messages=messages,
            on_progress=lambda count: typer.echo(f"parley: {count} messages are empty so far", err=True),
        )
        if as_json:
            typer.echo(to_json(deleted, username=name.lower(), result="deleted" if deleted.is_new else "left"))
            return
        what = f"deleted {name.lower()}" if deleted.is_new else f"{name.lower()} had been deleted before"
        emptied = f", {deleted.messages} messages emptied" if messages else ""
        typer.echo(f"{what}: {deleted.groups} groups left{emptied}")

    run(check())
    also = " and the content of all its messages" if messages else ""
    confirm(f"Delete the account {name.lower()}{also} for good?", is_sure=yes)
    run(work())


def export_user_command(
    name: NameArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", help="Write to this new file, readable by its owner alone. Default: print."
        ),
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Print all that is stored about a user, as JSON, one object a line.

    The account, its logins, devices, memberships and positions, and the messages that the user sent, as they were at
    one moment. Nothing that others wrote is in it. The last line counts the lines before it: where it is missing, the
    export was cut off.
    """
    from service.cli.admin import export as exports
    from service.cli.admin import opening

    async def work() -> None:
        settings = opening.open_settings({"data_dir": data_dir}, config)
        with exports.opened(output) as file:
            await exports.export_user(settings, name, lambda record: typer.echo(to_json(record), file=file))

    run(work())
