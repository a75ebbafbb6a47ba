"""The command `parley stats`."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from service.cli.options import ConfigOption, DataDirOption
from service.cli.run import JsonOption, echo_row, run, to_json, to_text
from service.domain import distribution

if TYPE_CHECKING:
    from storage.postgres.accounts.stats import Stats

# The counts that people ask for first; the table of all tables follows.
_ASKED = ("users", "logins", "devices", "conversations", "messages", "dead_letters")


def stats_command(as_json: JsonOption = False, data_dir: DataDirOption = None, config: ConfigOption = None) -> None:
    """Show counts of users and messages, the sizes of tables, and the oldest rows of tables whose rows expire.

    Cheap at any size: above 10,000 rows a figure is PostgreSQL's estimate, with a ~ before it.
    """
    from service.cli.admin import opening, stats

    async def work() -> None:
        figures = await stats.get_stats(opening.open_settings({"data_dir": data_dir}, config))
        if as_json:
            typer.echo(to_json({"version": distribution.version(), **asdict(figures)}))
        else:
            _print(figures)

    run(work())


def _print(figures: "Stats") -> None:
    echo_row("parley:", distribution.version())
    echo_row("deployment:", f"{figures.deployment_id}, epoch {figures.epoch}, made {to_text(figures.create_time)}")
    echo_row("PostgreSQL:", f"{figures.server_version}, {_size(figures.database_bytes)}")
    echo_row("migrations:", f"{len(figures.migrations)}, the last one {figures.migrations[-1]}")
    echo_row("workers:", figures.workers)
    rows = {table.name: _rows(table.rows, table.is_estimate) for table in figures.tables}
    for name in _ASKED:
        echo_row(f"{name.replace('_', ' ')}:", rows[name])
    echo_row("dead letters ever:", figures.dead_letters_made)
    for name, time in figures.oldest.items():
        echo_row(f"oldest of {name.replace('_', ' ')}:", to_text(time))
    echo_row("TABLE", "ROWS", "SIZE", "INDEXES")
    for table in figures.tables:
        echo_row(table.name, rows[table.name], _size(table.table_bytes), _size(table.index_bytes))


def _rows(rows: int, is_estimate: bool) -> str:
    return f"~{rows}" if is_estimate else str(rows)


def _size(size_bytes: int) -> str:
    """Returns a size for people, in units of 1,024."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
