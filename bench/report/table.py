"""A report as a table: for the terminal, and in Markdown for pages."""

from rich.markup import escape
from rich.table import Table

from bench.report.summary import COLUMNS, rows_of
from bench.report.words import describe_limits, describe_machine_of
from bench.results import Report

# How to read it is said where people look for it.
_PICTURES = "The columns are explained in `docs/performance.md`; `report.html` has the pictures, too."


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


def to_page(report: Report) -> str:
    """A Markdown page: what was run, when and where, the table, and the machine's limits."""
    parts = [
        "# Figures",
        f"What `{report.command}` found on {report.time}; it writes this page anew. {_PICTURES}",
        ", ".join(f"{name} {value}" for name, value in describe_machine_of(report.machine)) + ".",
        to_markdown(report).strip(),
    ]
    if report.limits:
        rows = [_line(("what the machine could do at most, in the same run", "")), _line(("---", "---"))]
        parts.append("\n".join([*rows, *(_line(pair) for pair in describe_limits(report.limits))]))
    return "\n\n".join(parts) + "\n"


def _line(cells: "tuple[str, ...] | list[str]") -> str:
    return f"| {' | '.join(cells)} |"
