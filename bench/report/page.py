"""A report as one HTML file that needs nothing else, and as pictures beside it."""

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.output import write_whole
from bench.report.charts import Picture, draw
from bench.report.summary import COLUMNS, Row, is_held, rows_of
from bench.report.words import describe_limits, describe_machine_of, in_digits
from bench.results import Latency, Report, Run

# Nothing may be fetched or run, whatever a title holds.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.45 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-size: 0.86rem; margin: 1rem 0; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.9rem 0.3rem 0; border-bottom: 1px solid #8885; }
.scroll { overflow-x: auto; }
.bad td { font-weight: bold; color: light-dark(#a32a00, #ff9566); }
img { width: 100%; max-width: 50rem; background: white; border-radius: 6px; }
figure { margin: 1.5rem 0; }
figcaption, .note { font-size: 0.86rem; opacity: 0.8; }
code { font-size: 0.9em; overflow-wrap: anywhere; }
"""


def write_page(report: Report, path: Path) -> None:
    """Writes the page anew, as a whole or not at all.

    Raises:
        OSError: it could not be written.
    """
    write_whole(path, to_html(report, draw(report)).encode())


def write_pictures(report: Report, directory: Path) -> list[Path]:
    """Writes each picture as a PNG, over one of its name that is there; makes the directory. Gives the files.

    Raises:
        OSError: one could not be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for picture in draw(report):
        path = directory / f"{picture.name}.png"
        write_whole(path, picture.png)
        written.append(path)
    return written


def to_html(report: Report, pictures: Sequence[Picture]) -> str:
    """The page's text."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>parley bench, {_text(report.time)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>parley bench</h1><p><code>{_text(report.command)}</code><br>{_text(report.time)}</p>",
        _failures(report.runs),
        _runs_table(report),
        *map(_figure, pictures),
        _section("The machine", describe_machine_of(report.machine)),
        _section("What it could do at most, measured in the same run", describe_limits(report.limits)),
        _details(report.runs),
        "</body></html>",
    ]
    return "\n".join(filter(None, parts)) + "\n"


def _text(value: object) -> str:
    return html.escape(str(value))


def _failures(runs: Sequence[Run]) -> str:
    """How many runs are not to be believed, before anything else."""
    failed = sum(not is_held(run) for run in runs)
    return f'<p class="bad"><strong>{failed} of {len(runs)} runs failed.</strong></p>' if failed else ""


def _runs_table(report: Report) -> str:
    if not report.runs:
        return ""
    rows = "".join(f"<tr class={_quality(row)}>{_cells(row.cells)}</tr>" for row in rows_of(report))
    note = (
        "CPU each: for one message, delivery or stream, the generator left out. Of the limit: stored messages a second"
        " as a part of bare group commit. Verified: deliveries that were checked for loss, doubles, order and text."
    )
    heads = "".join(f"<th>{_text(name)}</th>" for name in COLUMNS)
    return f'<div class="scroll"><table><tr>{heads}</tr>{rows}</table></div><p class="note">{note}</p>'


def _quality(row: Row) -> str:
    return "good" if row.is_held else "bad"


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.svg).decode("ascii")
    words = _text(picture.words)
    return (
        f'<figure><img alt="{words}" src="data:image/svg+xml;base64,{data}"><figcaption>{words}</figcaption></figure>'
    )


def _section(title: str, pairs: Sequence[tuple[str, str]]) -> str:
    if not pairs:
        return ""
    return f"<h2>{_text(title)}</h2><table>{''.join(f'<tr>{_cells(pair)}</tr>' for pair in pairs)}</table>"


def _cells(texts: Iterable[object]) -> str:
    return "".join(f"<td>{_text(text)}</td>" for text in texts)


def _details(runs: Sequence[Run]) -> str:
    """All that each run was given and found, folded."""
    parts = []
    for run in runs:
        pairs: list[tuple[str, str]] = [("measured", f"{in_digits(run.seconds)} s")]
        pairs += [(f"--{name.replace('_', '-')}", str(value)) for name, value in run.parameters.items()]
        pairs += [(name, f"{count:,}") for name, count in run.counts.items()]
        pairs += [(f"refused: {reason}", f"{count:,}") for reason, count in run.errors.items()]
        pairs += [
            (
                f"{name.replace('_', ' ')}, ms",
                ", ".join(f"p{p} {in_digits(ms)}" for p, ms in each.percentiles_ms.items()),
            )
            for name, each in run.latencies.items()
        ]
        pairs += [(f"CPU of {use.kind} ({use.processes})", f"{in_digits(use.cpu_seconds)} s") for use in run.uses]
        pairs += [(name.replace("_", " "), in_digits(value)) for name, value in run.figures.items()]
        rows = "".join(f"<tr>{_cells(pair)}</tr>" for pair in pairs)
        parts.append(
            f"<details><summary>{_text(f'{run.scenario}: {run.title}')}</summary><table>{rows}</table></details>"
        )
    return f"<h2>All numbers</h2>{''.join(parts)}" if parts else ""


def _percentiles(latency: Latency) -> str:
    return ", ".join(f"p{name} {in_digits(value)}" for name, value in latency.percentiles_ms.items())
