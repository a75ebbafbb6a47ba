"""The commands `parley login ...` and `parley device ...`."""

from typing import Annotated

import typer

from service.cli.options import ConfigOption, DataDirOption
from service.cli.run import JsonOption, NameArgument, echo_row, run, to_json, to_text

login_commands = typer.Typer(help="Look at logins and end them.", no_args_is_help=True)
device_commands = typer.Typer(help="Look at the devices of a user and forget them.", no_args_is_help=True)


@login_commands.command("list")
def list_logins(
    name: NameArgument, as_json: JsonOption = False, data_dir: DataDirOption = None, config: ConfigOption = None
) -> None:
    """List the logins of a user that are in force: where and when each began, was refreshed, and will expire."""
    from service.cli.admin import logins, opening

    async def work() -> None:
        found = await logins.list_logins(opening.open_settings({"data_dir": data_dir}, config), name)
        if not as_json:
            echo_row("LOGIN", "DEVICE", "CREATED", "REFRESHED", "EXPIRES")
        for login in found:
            if as_json:
                typer.echo(to_json(login))
            else:
                times = (login.create_time, login.refresh_time, login.expire_time)
                echo_row(login.login_id, login.device_id, *map(to_text, times))

    run(work())


@login_commands.command("end")
def end_logins(
    login_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="LOGIN...", help="Ids of logins, as `parley login list` shows them."),
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="End all logins of this user instead.")] = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """End logins: their tokens and streams end within seconds. Nothing is ended where an id is unknown."""
    from service.cli.admin import logins, opening, users

    if bool(login_ids) == (user is not None):
        raise typer.BadParameter("give either ids of logins or --user NAME")

    async def work() -> None:
        settings = opening.open_settings({"data_dir": data_dir}, config)
        if user is not None:
            (name,) = await users.log_out(settings, [user])
            typer.echo(to_json({"username": name, "result": "logged out"}) if as_json else f"logged out {name}")
            return
        for login_id, is_ended in (await logins.end_logins(settings, login_ids or [])).items():
            if as_json:
                typer.echo(to_json({"login_id": login_id, "result": "ended" if is_ended else "left"}))
            else:
                typer.echo(f"ended {login_id}" if is_ended else f"{login_id} had ended before")

    run(work())


@device_commands.command("list")
def list_devices(
    name: NameArgument, as_json: JsonOption = False, data_dir: DataDirOption = None, config: ConfigOption = None
) -> None:
    """List the devices of a user that keep positions, with their open streams and unsettled messages."""
    from service.cli.admin import logins, opening

    async def work() -> None:
        found = await logins.list_devices(opening.open_settings({"data_dir": data_dir}, config), name)
        if not as_json:
            echo_row("DEVICE", "CREATED", "LAST USED", "ACKS", "STREAMS", "POSITIONS", "UNSETTLED", "DEAD LETTERS")
        for device in found:
            if as_json:
                typer.echo(to_json(device))
                continue
            counts = (device.streams, device.positions, device.unsettled, device.dead_letters)
            times = (to_text(device.create_time), to_text(device.last_use_time))
            echo_row(device.device_id, *times, device.ack_mode, *counts)

    run(work())


@device_commands.command("delete")
def delete_device(
    name: NameArgument,
    device_id: Annotated[str, typer.Argument(metavar="DEVICE", help="The device's id.", show_default=False)],
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Forget a device, for instance a lost phone.

    Its logins and their streams end within seconds. Its positions, its unsettled messages and its dead letters go, and
    it makes room among the devices of its user. A token of `parley token` for this device belongs to no login:
    `parley user logout` ends it.
    """
    from service.cli.admin import logins, opening

    async def work() -> None:
        settings = opening.open_settings({"data_dir": data_dir}, config)
        removed = await logins.remove_device(settings, name, device_id)
        if as_json:
            typer.echo(to_json(removed, username=name.lower(), device_id=device_id, result="deleted"))
        else:
            typer.echo(
                f"deleted {device_id} of {name.lower()}: {removed.logins} logins, {removed.positions} positions,"
                f" {removed.unsettled} unsettled messages, {removed.dead_letters} dead letters"
            )

    run(work())
