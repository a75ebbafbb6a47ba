"""Shows a replay to the person who started it: progress, result table, findings."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from bench.replay.plan import Counts
from bench.replay.usage import CpuSeconds
from bench.replay.verdict import Finding

_FINDINGS_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Figures:
    """What a replay measured.

    Attributes:
        files, users, streams: how many.
        messages: lines that were sent and accepted.
        deliveries: entries that all streams together received.
        reconnects: streams that were opened again.
        send_seconds: from the first send to the last answer.
        total_seconds: until everything had arrived everywhere.
        delays: seconds from send to delivery at the listening devices, in any order.
        cpu: used between the first send and the last arrival; None when not known.
    """

    files: int
    users: int
    streams: int
    messages: int
    deliveries: int
    reconnects: int
    send_seconds: float
    total_seconds: float
    delays: Sequence[float]
    cpu: CpuSeconds | None


def make_progress(console: Console) -> Progress:
    """Returns a progress bar."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def make_table(figures: Figures, counts: Sequence[Counts]) -> Table:
    """Returns the result."""
    table = Table(show_header=False, box=None)
    rate = figures.messages / figures.send_seconds if figures.send_seconds else 0.0
    table.add_row("files", f"{figures.files:,}")
    table.add_row("users (streams)", f"{figures.users:,} ({figures.streams:,})")
    table.add_row("messages", f"{figures.messages:,}")
    table.add_row("changes of members", f"{sum(c.changes for c in counts):,}")
    table.add_row("empty lines, skipped", f"{sum(c.empty for c in counts):,}")
    table.add_row("changes skipped", f"{sum(c.changes_without_effect for c in counts):,}")
    table.add_row("spoke without having joined", f"{sum(c.unseen_joins for c in counts):,}")
    table.add_row("other lines, left out", f"{sum(c.other for c in counts):,}")
    table.add_row("deliveries", f"{figures.deliveries:,}")
    table.add_row("streams opened again", f"{figures.reconnects:,}")
    table.add_row("seconds, to the last answer", f"{figures.send_seconds:.2f}")
    table.add_row("seconds, to the last arrival", f"{figures.total_seconds:.2f}")
    table.add_row("messages a second", f"{rate:,.0f}")
    if len(figures.delays) > 1:
        hundredths = statistics.quantiles(figures.delays, n=100)
        table.add_row("send to delivery, p50", f"{hundredths[49] * 1000:.1f} ms")
        table.add_row("send to delivery, p99", f"{hundredths[98] * 1000:.1f} ms")
    if figures.cpu is not None and figures.messages:
        for name, seconds in (
            ("server", figures.cpu.server),
            ("PostgreSQL", figures.cpu.postgres),
            ("Redis", figures.cpu.redis),
            ("this client", figures.cpu.client),
        ):
            microseconds = seconds / figures.messages * 1e6
            table.add_row(f"CPU of {name}", f"{seconds:.2f} s, {microseconds:,.0f} us a message")
    return table


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Prints what is wrong, the first ones in full."""
    for finding in findings[:_FINDINGS_SHOWN]:
        console.print(
            f"{finding.title}: {finding.source}: {finding.what}", markup=False, highlight=False, soft_wrap=True
        )
    if len(findings) > _FINDINGS_SHOWN:
        console.print(f"... and {len(findings) - _FINDINGS_SHOWN:,} more")
