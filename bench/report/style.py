"""How pictures look: colours that colour-blind people tell apart, on white, so that they stand on any page."""

import io
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito, Color Universal Design (2008), without the yellow, which is too pale for lines on white.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", "-.", ":", "-", "--")

# By the names of `summary.PARTS`.
PART_COLOURS: Mapping[str, str] = {"server": BLUE, "PostgreSQL": ORANGE, "Valkey": GREEN}

PANELS_A_ROW = 3

_WIDTH_INCHES = 7.5
_DOTS_PER_INCH = 150
_SETTINGS: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.parse_math": False,  # a dollar sign in a title begins no formula
    "svg.hashsalt": "parley",  # equal figures give equal files
}


@contextmanager
def drawing() -> Iterator[None]:
    """The settings within which figures are made and written."""
    with mpl.rc_context(_SETTINGS):
        yield


def make_figure(height_inches: float = 4.0, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Returns an empty figure and its panels, three in a row, each row of this height."""
    columns = min(panels, PANELS_A_ROW)
    rows = math.ceil(panels / columns)
    figure = Figure(figsize=(_WIDTH_INCHES, rows * height_inches), dpi=_DOTS_PER_INCH, layout="constrained")
    return figure, [figure.add_subplot(rows, columns, nth + 1) for nth in range(panels)]


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG."""
    return _save(figure, "png", {"Software": None})


def to_svg(figure: Figure) -> bytes:
    """The figure as an SVG that needs nothing else: letters are drawn."""
    return _save(figure, "svg", {"Date": None, "Creator": None})


def _save(figure: Figure, form: str, metadata: dict[str, str | None]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, metadata=metadata)
    return buffer.getvalue()
