"""The commands that move all data: `parley export-database`, `import-database` and `upgrade-database`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from service.cli.options import ConfigOption, DataDirOption, fail

if TYPE_CHECKING:
    from service.settings.tree import Settings

_T = TypeVar("_T")


def export_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write; its mode is 0600.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Write all data into one file that any version of PostgreSQL can take in again (`import-database`).

    Takes one snapshot while servers run. The file has password hashes: keep it as you keep the database. The signing
    keys are not in it.
    """
    from service.cli.database_moves import export_to

    manifest = _try(lambda: export_to(_load(data_dir, config), file, force=force, tell=_tell))
    typer.echo(f"{file}: {manifest.row_count} rows of {len(manifest.tables)} tables, of {manifest.export_time}")


def import_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `export-database` or `pg_dump -Fc` wrote.")],
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Fill an empty database from a file of `export-database`, or a dump of `pg_dump -Fc`; no server may run on it yet.

    The database is the one of PARLEY_DATABASE_URL, or the embedded one of the data directory. After a move that is
    all. If the deployment that was exported has gone on meanwhile, say `parley restored` before serving.
    """
    from service.cli.database_moves import import_from

    count = _try(lambda: import_from(_load(data_dir, config), file, tell=_tell))
    typer.echo(f"all data are in; there are {count} accounts")


def upgrade_command(
    programs: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The bin directory of the old PostgreSQL. Default: where packages have it."),
    ] = None,
    database: Annotated[
        str, typer.Option(metavar="NAME", help="The database that has the data, if the directory was not Parley's.")
    ] = "postgres",
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Move the embedded PostgreSQL's data to the version that is installed now; the server must not run.

    Needs the programs of the old version once. The old directory is kept as `postgres-MAJOR` in the data directory.
    """
    from service.cli.database_upgrade import upgrade_embedded

    settings = _try(lambda: _load(data_dir, config))
    done = _try(lambda: upgrade_embedded(settings, programs, database=database, tell=_tell))
    if done is None:
        typer.echo("nothing to do: the data are of the version that is installed")
        return
    old, new, kept = done
    typer.echo(f"moved from PostgreSQL {old} to {new}; the old directory is {kept}: delete it when all is well")


def _load(data_dir: Path | None, config: Path | None) -> "Settings":
    from service.settings.load import load

    return load({"data_dir": data_dir}, config_file=config).settings


def _tell(text: str) -> None:
    typer.echo(f"{text} ...", err=True)


def _try(work: Callable[[], _T]) -> _T:
    from service.settings.load import ConfigError
    from service.settings.start_error import StartError
    from storage.embedded import EmbeddedError

    try:
        return work()
    except (ConfigError, StartError, EmbeddedError) as error:
        fail(str(error))
