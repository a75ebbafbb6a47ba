"""A report as a table: for the terminal, and in Markdown for pages."""

from rich.markup import escape
from rich.table import Table

from bench.report.summary import COLUMNS, rows_of
from bench.results import Report


def to_rich(report: Report) -> Table:
    """A table for the terminal, a row a run; runs that failed are red."""
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for name in COLUMNS:
        table.add_column(name, overflow="fold")
    for row in rows_of(report):
        table.add_row(*map(escape, row.cells), style="" if row.is_held else "bold red")
    return table


def to_markdown(report: Report) -> str:
    """The same table in Markdown; runs that failed are bold."""
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    for row in rows_of(report):
        cells = [cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for cell in row.cells]
        lines.append(_line(cells if row.is_held else [f"**{cell}**" for cell in cells]))
    return "\n".join(lines) + "\n"


def _line(cells: "tuple[str, ...] | list[str]") -> str:
    return f"| {' | '.join(cells)} |"
