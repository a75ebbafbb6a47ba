"""The commands `parley user ...`, but for `delete` and `export` (`erasure.py`)."""

import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import ConfigOption, DataDirOption
from service.cli.run import (
    JsonOption,
    NameArgument,
    NamesArgument,
    StdinOption,
    echo_row,
    read_names,
    read_password,
    run,
    to_json,
    to_text,
)

user_commands = typer.Typer(help="Look after the accounts of people and programs.", no_args_is_help=True)

PasswordStdinOption = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read the password from standard input: one line, its end is left out."),
]


class _State(StrEnum):
    """As storage.postgres.accounts.views.UserState, which takes long to load for a help text."""

    ACTIVE = "active"
    DISABLED = "disabled"
    DELETED = "deleted"


@user_commands.command("list")
def list_users(
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="Only names that begin with this.")] = "",
    state: Annotated[_State | None, typer.Option(help="Only accounts in this state.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="At most so many. Default: all.")] = None,
    after: Annotated[
        str, typer.Option(metavar="NAME", help="Only names after this one: go on where a list with --limit ended.")
    ] = "",
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """List accounts by name, deleted ones too; any number is streamed."""
    from service.cli.admin import opening, users
    from storage.postgres.accounts.views import UserState

    async def work() -> None:
        settings = opening.open_settings({"data_dir": data_dir}, config)
        found = users.list_users(
            settings,
            prefix=prefix.lower(),
            state=None if state is None else UserState(state.value),
            after=after.lower(),
            limit=limit,
        )
        has_head = as_json
        async for user in found:
            if not has_head:  # only now: what is refused prints nothing
                echo_row("NAME", "STATE", "CREATED", "PASSWORD")
                has_head = True
            if as_json:
                typer.echo(to_json(user))
            else:
                echo_row(user.username, user.state, to_text(user.create_time), "yes" if user.has_password else "no")

    run(work())


@user_commands.command("show")
def show(
    name: NameArgument, as_json: JsonOption = False, data_dir: DataDirOption = None, config: ConfigOption = None
) -> None:
    """Show one account: its state, and how many logins, devices, conversations and unread messages it has."""
    from service.cli.admin import opening, users

    async def work() -> None:
        summary = await users.get_summary(opening.open_settings({"data_dir": data_dir}, config), name)
        if as_json:
            typer.echo(to_json(summary))
            return
        user = summary.user
        for label, value in (
            ("name", user.username),
            ("display name", user.display_name or "-"),
            ("state", user.state),
            ("password", "yes" if user.has_password else "no: only tokens of `parley token` let it in"),
            ("created", to_text(user.create_time)),
            ("disabled", to_text(user.disable_time)),
            ("deleted", to_text(user.delete_time)),
            ("last seen", to_text(summary.last_seen_time)),
            ("logins", summary.logins),
            ("devices", summary.devices),
            ("open streams", summary.streams),
            ("conversations", f"{summary.direct_conversations} direct, {summary.groups} groups"),
            ("unread messages", summary.unread),
            ("unsettled deliveries", summary.unsettled),
            ("dead letters", summary.dead_letters),
        ):
            echo_row(f"{label}:", value)

    run(work())


@user_commands.command("create")
def create(
    names: NamesArgument = None,
    stdin: StdinOption = False,
    password_stdin: PasswordStdinOption = False,
    exist_ok: Annotated[
        bool,
        typer.Option(
            "--exist-ok",
            help="Don't fail where a name has an account already. That account is left as it is, its password too,"
            " and a line says so.",
        ),
    ] = False,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Make accounts: all of them, or none where one can't be made.

    Without a password an account can't log in: it uses tokens that `parley token` prints, until `parley user password`
    gives it one.
    """
    from service.cli.admin import opening, users

    if stdin and password_stdin:
        raise typer.BadParameter("standard input holds either names or a password")
    wanted = read_names(names, stdin)
    password = read_password() if password_stdin else None

    async def work() -> None:
        settings = opening.open_settings({"data_dir": data_dir}, config)
        for name, is_made in (await users.create_users(settings, wanted, password, exist_ok=exist_ok)).items():
            if as_json:
                typer.echo(to_json({"username": name, "result": "made" if is_made else "left"}))
            else:
                typer.echo(f"made {name}" if is_made else f"left {name} as it is")

    run(work())


@user_commands.command("password")
def set_password(
    name: NameArgument,
    password_stdin: PasswordStdinOption = False,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Set the password of an account, where it was lost or where there is none; its logins end within seconds.

    Asks for the password twice on a terminal. Tokens that `parley token` printed end, too.
    """
    from service.cli.admin import opening, users

    if not password_stdin and not sys.stdin.isatty():
        raise typer.BadParameter("standard input is no terminal to ask on: give --password-stdin")

    async def check() -> None:
        await users.check_account(opening.open_settings({"data_dir": data_dir}, config), name)

    async def work(password: str) -> None:
        settings = opening.open_settings({"data_dir": data_dir}, config)
        had_one = await users.set_password(settings, name, password)
        if as_json:
            typer.echo(to_json({"username": name.lower(), "result": "set", "had_password": had_one}))
        else:
            note = "" if had_one else "; it had none, and can log in now"
            typer.echo(f"set the password of {name.lower()}; its logins end{note}")

    run(check())
    # Not on the event loop, which would keep Ctrl-C from ending the question.
    run(work(read_password() if password_stdin else _ask_password()))


@user_commands.command("disable")
def disable(
    names: NamesArgument = None,
    stdin: StdinOption = False,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Shut accounts out: their logins, tokens and streams end within seconds, and nobody logs in to them."""
    from service.cli.admin.users import set_disabled

    _change(read_names(names, stdin), partial(set_disabled, is_disabled=True), "disabled", as_json, data_dir, config)


@user_commands.command("enable")
def enable(
    names: NamesArgument = None,
    stdin: StdinOption = False,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Let disabled accounts in again; logins and tokens that were ended stay so."""
    from service.cli.admin.users import set_disabled

    _change(read_names(names, stdin), partial(set_disabled, is_disabled=False), "enabled", as_json, data_dir, config)


@user_commands.command("logout")
def logout(
    names: NamesArgument = None,
    stdin: StdinOption = False,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """End all logins, tokens and streams of accounts within seconds; they can log in again."""
    from service.cli.admin.users import log_out

    _change(read_names(names, stdin), log_out, "logged out", as_json, data_dir, config)


def _change(
    names: list[str],
    change: Callable[..., Awaitable[list[str]]],
    result: str,
    as_json: bool,
    data_dir: Path | None,
    config: Path | None,
) -> None:
    """Changes accounts, and prints what became of each."""
    from service.cli.admin import opening

    async def work() -> None:
        settings = opening.open_settings({"data_dir": data_dir}, config)
        for name in await change(settings, names):
            typer.echo(to_json({"username": name, "result": result}) if as_json else f"{result} {name}")

    run(work())


def _ask_password() -> str:
    password: str = typer.prompt("New password", hide_input=True, confirmation_prompt="The same again", err=True)
    return password
