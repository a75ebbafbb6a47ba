"""`parley bench compare` and `parley bench page`: what they take and print."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.output import in_words
from bench.report.compare import Comparison, Mark, compare
from bench.report.words import in_digits
from bench.results import Report

_STYLES = {Mark.BETTER: "green", Mark.WORSE: "bold red", Mark.SAME: "dim"}


def compare_command(
    old: Annotated[Path, typer.Argument(metavar="A.json", help="The report to compare with.")],
    new: Annotated[Path, typer.Argument(metavar="B.json", help="The report that is compared.")],
    fail_over: Annotated[
        float | None,
        typer.Option(
            "--fail-over",
            metavar="PERCENT",
            min=0.0,
            help="Exit with status 1 if anything got worse by more than this, or a run of B failed.",
        ),
    ] = None,
) -> None:
    """Compare two reports, run by run.

    Rates, CPU, latencies and memory of B as a part of A's; changes of more than 10 % are marked. Runs are matched by
    scenario and title.
    """
    found = compare(_read(old), _read(new))
    _print(found, Console())
    if not found.pairs:
        _fail("the reports have no run in common")
    if fail_over is not None:
        wrong = found.worse_by(fail_over / 100)
        wrong += [f"{pair.name}: the new run failed" for pair in found.pairs if "the new run failed" in pair.remarks]
        if wrong:
            _fail(*wrong)


def page_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A report that parley bench wrote.")],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page that needs nothing else.")
    ] = None,
    png: Annotated[Path | None, typer.Option("--png", metavar="DIR", help="Write each picture there.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table in Markdown.")] = False,
) -> None:
    """Show a report again: as a table, as a page, as pictures."""
    from bench.report.page import write_page, write_pictures
    from bench.report.table import to_markdown, to_rich

    report = _read(file)
    if markdown:
        typer.echo(to_markdown(report), nl=False)
    else:
        Console().print(to_rich(report))
    try:
        if html is not None:
            write_page(report, html)
        if png is not None:
            write_pictures(report, png)
    except OSError as error:
        _fail(in_words(error))


def _read(path: Path) -> Report:
    try:
        return Report.read(path)
    except OSError as error:
        _fail(f"can't read {path}: {error.strerror}")
    except ValueError as error:
        _fail(str(error))


def _fail(*lines: str) -> NoReturn:
    for line in lines:
        typer.echo(f"parley: {line}", err=True)
    raise typer.Exit(1)


def _print(found: Comparison, console: Console) -> None:
    for line in found.differences:
        console.print(f"[yellow]not the same machine or version[/yellow]: {escape(line)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("run", "measure"):
        table.add_column(name, overflow="fold")
    for name in ("A", "B", "B / A"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for pair in found.pairs:
        name = "; ".join((pair.name, *pair.remarks))
        for change in pair.changes:
            mark = f"[{_STYLES[change.mark]}]{change.mark}[/]"
            cells = (in_digits(change.old), in_digits(change.new), f"{change.ratio:.2f}", mark)
            table.add_row(escape(name), change.measure, *cells)
            name = ""
        if name:
            table.add_row(escape(name), "nothing that both measured")
    if found.pairs:
        console.print(table)
    for which, names in (("A", found.only_old), ("B", found.only_new)):
        for name in names:
            console.print(f"only in {which}: {escape(name)}")
