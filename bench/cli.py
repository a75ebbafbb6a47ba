"""The commands under `parley bench`: what they take and print."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import NoReturn

import typer
from rich.console import Console

from bench.errors import BenchError
from bench.files import allow
from bench.limit.command import limit_command
from bench.options import Common, command_of
from bench.output import check_place, in_words
from bench.progress import wide_console
from bench.report.commands import compare_command, page_command
from bench.report.table import to_rich
from bench.results import Report
from bench.running import Scenario
from bench.scenarios.chat import Chat
from bench.scenarios.connect import Connect
from bench.scenarios.fanout import Fanout
from bench.scenarios.idle import Idle
from bench.scenarios.mixed import Mixed
from bench.scenarios.pull import Pull
from bench.scenarios.send import Send
from bench.session import Interrupted, Place, run_all
from bench.window import Times

_HELP = """Measure a Parley server, and check what it delivers.

Every run checks that each acknowledged message came to each reader once, in order and unchanged; one that lost or
changed any fails. Without --target a server is started for the run.
"""

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
_INTERRUPTED = 130


@app.callback(help=_HELP)
def _root() -> None: ...


def main(arguments: list[str]) -> None:
    """Runs the command line; what is wrong is one line on standard error and exit status 1."""
    app(arguments, prog_name="parley bench")


def run() -> None:
    """Runs the command `parley-bench` with the arguments of this process."""
    app(prog_name="parley-bench")


def _run(scenario: Scenario, common: Common) -> None:
    """Runs one scenario and prints what it found."""
    problems: list[str] = []
    try:
        scenario.check()
        place = Place(common.address(), common.token_file, common.workers, common.generators)
        check_place(common.json)
        check_place(common.html)
        allow(scenario.connection_count, can_share="streams_per_connection" in scenario.parameters)
        runs = [(scenario, Times(common.warmup, common.seconds))]
        console = Console(stderr=True)
        report = asyncio.run(run_all(place, runs, console, lambda report: problems.extend(_write(report, common))))
    except BenchError as error:
        _fail([str(error)])
    except Interrupted:
        _fail(["interrupted"], _INTERRUPTED)
    _print(report)
    if failure := report.runs[-1].failure:
        problems.append(failure)
    if problems:
        _fail(problems, _INTERRUPTED if failure == "interrupted" else 1)


def _write(report: Report, common: Common) -> Iterator[str]:
    """Writes what there is so far; gives what could not be written, and why."""
    if common.json is not None:
        try:
            report.write(common.json)
        except OSError as error:
            yield in_words(error)
    if common.html is not None:
        try:
            from bench.report.page import write_page

            write_page(report, common.html)
        except OSError as error:
            yield in_words(error)


def _print(report: Report) -> None:
    console = wide_console()
    console.print(to_rich(report))
    for run in report.runs:
        for name, latency in run.latencies.items():
            shown = ", ".join(f"p{percentile} {value:.2f}" for percentile, value in latency.percentiles_ms.items())
            console.print(f"{name} latency, ms: {shown}", highlight=False, soft_wrap=True)
        for name, value in run.figures.items():
            console.print(f"{name.replace('_', ' ')}: {value:,.1f}", highlight=False)


def _fail(texts: Sequence[str], status: int = 1) -> NoReturn:
    for text in texts:
        typer.echo(f"parley: {text}", err=True)
    raise typer.Exit(status)


_SCENARIOS: dict[type[Scenario], str] = {
    Send: "Unary Send: many calls outstanding.",
    Chat: "Streams that send, and streams of other users that read: the headline.",
    Pull: "Pages of a long history.",
    Idle: "Streams that are open and do nothing: memory and processor time.",
    Connect: "A storm: very many devices connect at once and want what they missed.",
    Mixed: "People: they send, read, acknowledge, type and watch each other.",
    Fanout: "One sender in a large group, a stream for each member.",
}
for _scenario, _text in _SCENARIOS.items():
    app.command(_scenario.name)(command_of(_scenario, _run, _text))
app.command("limit")(limit_command)
app.command("compare")(compare_command)
app.command("page")(page_command)
