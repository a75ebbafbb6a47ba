"""Pictures of a report: those for which it has the runs. Each run's latency and cost, and what grows with what."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.report import style
from bench.report.summary import PARTS, headline_of, latency_of, memory_of
from bench.report.sweeps import Sweep, find_sweeps
from bench.report.words import in_digits
from bench.results import Latency, Report, Run

# The parameters of runs along which lines are drawn, with what is written at the axis.
RATE, FRAME, STREAMS = "rate", "frame", "streams"
_COST_AXES = {
    "conversations": "conversations",
    STREAMS: "streams",
    "readers": "readers",
    "stored": "messages stored before",
    "history": "messages in the log",
    "workers": "worker processes",
}

_PERCENTILES = ("50", "90", "99", "99.9")
_WIDE_RATIO = 8  # values further apart than this are drawn on a logarithmic axis
_ROW_INCHES = 0.34
_TITLE_CHARACTERS = 44


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is drawn.

    Attributes:
        name: of its file, without the ending.
        words: what it shows, for those who don't see it.
    """

    name: str
    words: str
    png: bytes
    svg: bytes


def draw(report: Report) -> list[Picture]:
    """Draws every picture for which the report has runs; what was not measured has none."""
    pictures = []
    with style.drawing():
        for name, words, figure in _figures(report.runs):
            pictures.append(Picture(name, words, style.to_png(figure), style.to_svg(figure)))
    return pictures


def _figures(runs: Sequence[Run]) -> list[tuple[str, str, Figure]]:
    found = []
    for nth, sweep in enumerate(find_sweeps(runs, RATE, lambda run: latency_of(run) is not None)):
        name = f"latency-by-rate-{sweep.scenario}" + (f"-{nth + 1}" if nth else "")
        found.append((name, f"Latency percentiles by rate: {sweep.label}", _latency_by_rate(sweep)))
    if sweeps := find_sweeps(runs, FRAME, lambda run: _rate_of(run) > 0):
        found.append(("rate-by-frame", "Messages a second by messages a frame", _rate_by_frame(sweeps)))
    if sweeps := find_sweeps(runs, STREAMS, lambda run: run.scenario == "idle" and _server_mib(run) > 0):
        found.append(("memory-by-streams", "Memory of the workers by open streams", _memory_by_streams(sweeps)))
    if axes := _cost_sweeps(runs):
        words = f"Processor time each by {', '.join(words for words, _ in axes)}"
        found.append(("cost-by-size", words, _cost_by_size(axes)))
    if timed := [(run, *latency) for run in runs if (latency := latency_of(run)) is not None]:
        found.append(("latency-of-runs", "Latency of each run, p50 to p99", _latency_of_runs(timed)))
    # What a stream costs to connect is so much more that it would leave the others no room.
    if costly := [run for run in runs if _cost_us(run) > 0 and headline_of(run).noun != "stream"]:
        found.append(("cost-of-runs", "Processor time each, by process, of each run", _cost_of_runs(costly)))
    return found


def _latency_by_rate(sweep: Sweep) -> Figure:
    figure, (axes,) = style.make_figure()
    name = ""
    for nth, percentile in enumerate(_PERCENTILES):
        points = []
        for x, run in zip(sweep.xs, sweep.runs, strict=True):
            found = latency_of(run)
            if found is not None and percentile in found[1].percentiles_ms:
                name = found[0]
                points.append((x, found[1].percentiles_ms[percentile]))
        _line(axes, nth, points, f"p{percentile}")
    _scale(axes, sweep.xs, "messages offered a second")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(_number_format())
    axes.set_ylabel(f"{name.replace('_', ' ')} latency, ms")
    axes.set_title(f"Latency by rate: {sweep.label}")
    _legend(axes, is_reversed=True)
    return figure


def _rate_by_frame(sweeps: Sequence[Sweep]) -> Figure:
    figure, (axes,) = style.make_figure()
    for nth, sweep in enumerate(sweeps):
        _line(axes, nth, [(x, _rate_of(run)) for x, run in zip(sweep.xs, sweep.runs, strict=True)], sweep.label)
    _scale(axes, [x for sweep in sweeps for x in sweep.xs], "messages a frame")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(_number_format())
    axes.set_ylabel("messages a second")
    axes.set_title("Throughput by frame size")
    _legend(axes)
    return figure


def _memory_by_streams(sweeps: Sequence[Sweep]) -> Figure:
    figure, (axes,) = style.make_figure()
    for nth, sweep in enumerate(sweeps):
        points = [(x, _server_mib(run)) for x, run in zip(sweep.xs, sweep.runs, strict=True)]
        (first_x, first_y), (last_x, last_y) = points[0], points[-1]
        each_kib = 1024 * (last_y - first_y) / (last_x - first_x)
        _line(axes, nth, points, f"{sweep.label}: {in_digits(each_kib)} KiB a stream")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(_number_format())
    axes.set_xlabel("open streams")
    axes.set_ylabel("resident memory of the workers, MiB")
    axes.set_title("Memory by streams")
    _legend(axes)
    return figure


def _cost_sweeps(runs: Sequence[Run]) -> list[tuple[str, list[Sweep]]]:
    found = [
        (words, find_sweeps(runs, parameter, lambda run: _cost_us(run) > 0)) for parameter, words in _COST_AXES.items()
    ]
    return [(words, sweeps) for words, sweeps in found if sweeps]


def _cost_by_size(found: Sequence[tuple[str, list[Sweep]]]) -> Figure:
    figure, panels = style.make_figure(3.6, panels=len(found))
    for axes, (words, sweeps) in zip(panels, found, strict=True):
        for nth, sweep in enumerate(sweeps):
            _line(axes, nth, [(x, _cost_us(run)) for x, run in zip(sweep.xs, sweep.runs, strict=True)], sweep.label)
        _scale(axes, [x for sweep in sweeps for x in sweep.xs], words)
        axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
        axes.legend(loc="lower left", fontsize=8)
    for axes in panels[:: style.PANELS_A_ROW]:
        axes.set_ylabel("microseconds of CPU each")
    panels[0].set_title("CPU of server, PostgreSQL and Valkey")
    return figure


def _latency_of_runs(timed: Sequence[tuple[Run, str, Latency]]) -> Figure:
    figure, axes = _row_figure([f"{_name(run)} ({name.replace('_', ' ')})" for run, name, _ in timed])
    for nth, (_, _, latency) in enumerate(timed):
        low, high = (latency.percentiles_ms.get(each) for each in ("50", "99"))
        if low is None or high is None:
            continue
        axes.plot([low, high], [nth, nth], color="#999999", linewidth=2, zorder=1)
        for value, colour, marker, words in ((low, style.BLUE, "o", "p50"), (high, style.VERMILION, "s", "p99")):
            axes.plot([value], [nth], marker, color=colour, label=words if nth == 0 else None)
            axes.annotate(
                in_digits(value),
                (value, nth),
                (-7 if marker == "o" else 7, 0),
                textcoords="offset points",
                ha="right" if marker == "o" else "left",
                va="center",
                fontsize=8,
            )
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.xaxis.set_major_formatter(_number_format())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("milliseconds")
    axes.set_title("Latency of each run")
    figure.legend(loc="outside lower right", ncols=3, fontsize=8)
    return figure


def _cost_of_runs(runs: Sequence[Run]) -> Figure:
    figure, axes = _row_figure([_name(run) for run in runs])
    left = [0.0] * len(runs)
    for part, kinds in PARTS.items():
        widths = [run.cpu_us_per(headline_of(run).count, *kinds) or 0.0 for run in runs]
        axes.barh(range(len(runs)), widths, left=left, color=style.PART_COLOURS[part], label=part, height=0.7)
        left = [before + width for before, width in zip(left, widths, strict=True)]
    for nth, total in enumerate(left):
        axes.annotate(in_digits(total), (total, nth), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.margins(x=0.1)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(_number_format())
    axes.set_xlabel("microseconds of CPU for each message or delivery")
    axes.set_title("CPU each, by process")
    figure.legend(loc="outside lower right", ncols=3, fontsize=8)
    return figure


def _row_figure(names: Sequence[str]) -> tuple[Figure, Axes]:
    """A figure with a row for each name, the first on top."""
    figure, (axes,) = style.make_figure(1.6 + _ROW_INCHES * len(names))
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    return figure, axes


def _name(run: Run) -> str:
    """The run's name, as long as there is room."""
    name = f"{run.scenario}: {run.title}" if run.title else run.scenario
    return name if len(name) <= _TITLE_CHARACTERS else f"{name[: _TITLE_CHARACTERS - 3]}..."


def _line(axes: Axes, nth: int, points: Sequence[tuple[float, float]], label: str) -> None:
    axes.plot(
        [x for x, _ in points],
        [y for _, y in points],
        linestyle=style.LINES[nth % len(style.LINES)],
        marker=style.MARKERS[nth % len(style.MARKERS)],
        color=style.COLOURS[nth % len(style.COLOURS)],
        label=label,
    )


def _scale(axes: Axes, xs: Sequence[float], words: str) -> None:
    """Writes at the axis below; values far apart get a logarithmic one with a mark at each."""
    if max(xs) >= _WIDE_RATIO * min(xs):
        axes.set_xscale("log")
        axes.set_xticks(sorted(set(xs)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(_number_format())
    axes.set_xlabel(words)


def _number_format() -> FuncFormatter:
    return FuncFormatter(_short_number)


def _short_number(value: float, _position: int | None = None) -> str:
    """100k rather than 100,000: marks stand close."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _legend(axes: Axes, *, is_reversed: bool = False) -> None:
    axes.legend(reverse=is_reversed, fontsize=8)


def _rate_of(run: Run) -> float:
    headline = headline_of(run)
    return run.rate(headline.count) if headline.is_flow else 0.0


def _cost_us(run: Run) -> float:
    headline = headline_of(run)
    return (run.cpu_us_per(headline.count) or 0.0) if headline.is_flow else 0.0


def _server_mib(run: Run) -> float:
    return memory_of(run, "server") / 1024**2
