"""The command `parley`: what it takes and prints. What it does is in the modules that each command imports.

Imports stay inside the commands, so that they answer quickly. `serve` comes here in the process that prepares the
server (`host/preparer.py`).
"""

import asyncio
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.database import export_command, import_command, upgrade_command
from service.cli.erasure import delete_user_command, export_user_command
from service.cli.keys import keys_commands
from service.cli.logins import device_commands, login_commands
from service.cli.options import ConfigOption, DataDirOption, fail
from service.cli.run import YesOption, confirm
from service.cli.stats import stats_command
from service.cli.tokens import token_command
from service.cli.users import user_commands
from service.domain import distribution

_HELP = """A gRPC-first streaming chat service.

`parley serve` starts a server; without settings it brings its own PostgreSQL and Valkey. Settings come from the file
that PARLEY_CONFIG names, from PARLEY_* variables, and from flags, the later overriding the earlier.
"""

app = typer.Typer(
    help=_HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)


def run(arguments: Sequence[str], *, serve_by: Callable[[dict[str, Any], Path | None], None] | None = None) -> None:
    """Runs a command line; what is wrong is one line on standard error and exit status 1.

    Args:
        serve_by: what `serve` does with its flags and its file; None: it prepares the start.
    """
    app(arguments, prog_name="parley", obj=serve_by)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"parley {distribution.version()}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


@app.command()
def serve(
    context: typer.Context,
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Address; port 0 takes any free one. Default: 127.0.0.1:50051"),
    ] = None,
    data_dir: DataDirOption = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Worker processes. Default: 1")] = None,
    log_level: Annotated[str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(metavar="FORMAT", help="auto, console or json.")] = None,
    config: ConfigOption = None,
) -> None:
    """Run the server until Ctrl-C or SIGTERM.

    Uses the databases that PARLEY_DATABASE_URL and PARLEY_REDIS_URL name, or else starts private ones in the data
    directory. Logs go to standard error.
    """
    from service.host.preparer import prepare
    from service.settings.load import ConfigError
    from service.settings.start_error import StartError

    flags: dict[str, Any] = {
        "listen": listen,
        "data_dir": data_dir,
        "workers": workers,
        "log.level": log_level,
        "log.format": log_format,
    }
    try:
        (context.obj or prepare)(flags, config)
    except (ConfigError, StartError) as error:
        fail(str(error))


@app.command()
def migrate(data_dir: DataDirOption = None, config: ConfigOption = None) -> None:
    """Bring the database schema up to date; `serve` does so too.

    Needs a database that runs: the one of PARLEY_DATABASE_URL, or that of a server running on the data directory.
    """
    from service.cli.admin.opening import open_settings
    from service.host.preparation import bring_up_to_date
    from service.settings.load import ConfigError
    from service.settings.start_error import StartError

    try:
        ran = bring_up_to_date(open_settings({"data_dir": data_dir}, config))
    except (ConfigError, StartError) as error:
        fail(str(error))
    typer.echo("\n".join(f"ran {name}" for name in ran) if ran else "the schema is up to date")


@app.command()
def restored(is_sure: YesOption = False, data_dir: DataDirOption = None, config: ConfigOption = None) -> None:
    """Say that the database was restored to an earlier state; once, after each restore.

    Begins another epoch: devices that have what is gone are told to forget it. Running workers start anew by themselves
    within seconds. Needs a database that runs, as `migrate` does. Asks before it does so, or needs --yes.
    """
    from service.cli.admin.epochs import begin_epoch
    from service.cli.admin.opening import open_settings
    from service.settings.load import ConfigError
    from service.settings.start_error import StartError

    try:
        settings = open_settings({"data_dir": data_dir}, config)
        confirm("Begin another epoch? Devices forget what the database no longer has.", is_sure=is_sure)
        epoch = asyncio.run(begin_epoch(settings))
    except (ConfigError, StartError) as error:
        fail(str(error))
    typer.echo(f"epoch {epoch} begins")


@app.command()
def config(
    example: Annotated[
        bool, typer.Option("--example", help="Print a commented file with every setting and its default instead.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Print the settings in force and where each comes from; passwords are masked."""
    from service.settings import render
    from service.settings.load import ConfigError, load

    if example:
        typer.echo(render.example(), nl=False)
        return
    try:
        typer.echo(render.in_force(load(config_file=config)), nl=False)
    except ConfigError as error:
        fail(str(error))


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def health(context: typer.Context) -> None:
    """Ask a running server whether it serves; exit status 0 if so, else 1. `parley health --help` says how."""
    from service.cli import health as command

    raise typer.Exit(command.main(context.args))


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(context: typer.Context) -> None:
    """Measure a server, and check what it delivers; `parley bench --help` says how.

    Needs the package parley-bench.
    """
    installed = [*metadata.entry_points(group="parley.commands", name="bench")]
    if not installed:
        fail(
            f"the load generator is not installed: {distribution.install_command('bench')}"
            " (in a checkout: make .venv/.dev)"
        )
    installed[0].load()(context.args)


user_commands.command("delete")(delete_user_command)
user_commands.command("export")(export_user_command)
app.add_typer(user_commands, name="user")
app.add_typer(login_commands, name="login")
app.add_typer(device_commands, name="device")
app.add_typer(keys_commands, name="keys")
app.command("token")(token_command)
app.command("stats")(stats_command)
app.command("export-database")(export_command)
app.command("import-database")(import_command)
app.command("upgrade-database")(upgrade_command)
