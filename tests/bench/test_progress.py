"""What is said of a run while it goes."""

import io
import time

import pytest
from rich.console import Console

from bench.progress import Lines


def test_rates_begin_anew_with_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    written = io.StringIO()
    lines = Lines(Console(file=written, width=160))
    lines.phase("measuring", 10.0)
    for seconds, totals in ((2.1, {"acked": 500}), (2.0, {"acked": 2500}), (4.0, {"acked": 40}), (2.0, {"acked": 640})):
        now += seconds
        lines.live(totals, 0)
    now += 2.0
    lines.live({"acked": 640, "delivered": 20}, 3)
    assert written.getvalue().splitlines() == [
        "measuring (10 s)",
        "  1,000 acked/s",
        "  300 acked/s",
        "  0 acked/s, 10 delivered/s, 3 refused",
    ]
