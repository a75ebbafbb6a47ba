"""A run in one row: the numbers by which runs are told apart, before anybody draws or prints them. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.report.words import in_bytes, in_digits
from bench.results import Latency, Report, Run, Verification

COLUMNS = (
    "run",
    "rate",
    "p50 / p99, ms",
    "CPU each, us = server + PostgreSQL + Valkey",
    "memory, MiB: server + PostgreSQL + Valkey",
    "of the limit",
    "verified",
)

# What a server's side is made of, in the order in which it is shown, by the kinds of process in it.
PARTS = {"server": ("server", "supervisor"), "PostgreSQL": ("postgresql",), "Valkey": ("valkey",)}

_NONE = "-"
_MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Headline:
    """What a scenario is about.

    Attributes:
        count: of `Run.counts`, whose rate counts, and of which each has its cost.
        noun: one of them, as people say it.
        latency: of `Run.latencies`; the first there is where that was not measured.
        is_flow: whether the count grows with time; streams that are held do not.
    """

    count: str
    noun: str
    latency: str
    is_flow: bool = True


_HEADLINES = {
    "send": Headline("acked", "message", "ack"),
    "chat": Headline("acked", "message", "delivery"),
    "mixed": Headline("acked", "message", "delivery"),
    "fanout": Headline("delivered", "delivery", "delivery"),
    "pull": Headline("pulled", "message", "pull"),
    "connect": Headline("streams", "stream", "caught_up"),
    "idle": Headline("streams", "stream", "", is_flow=False),
}
_PLURALS = {"delivery": "deliveries"}


@dataclass(frozen=True, slots=True)
class Row:
    """One run as text, in the order of `COLUMNS`.

    Attributes:
        is_held: False for a run that failed or in which something was not held.
    """

    cells: tuple[str, ...]
    is_held: bool


def headline_of(run: Run) -> Headline:
    """What the run's scenario is about; for one that is not known here, the first count there is."""
    known = _HEADLINES.get(run.scenario)
    if known is not None:
        return known
    return Headline(next(iter(run.counts), ""), "event", next(iter(run.latencies), ""))


def latency_of(run: Run) -> tuple[str, Latency] | None:
    """The latency that counts in this run, with its name; None: none was measured."""
    measured = {name: latency for name, latency in run.latencies.items() if latency.percentiles_ms}
    wanted = headline_of(run).latency
    name = wanted if wanted in measured else next(iter(measured), "")
    return (name, measured[name]) if name else None


def ratio_to_limit(run: Run, limits: Mapping[str, float]) -> float | None:
    """Messages that were stored a second as a part of what bare group commit stored; None: not measured."""
    limit = limits.get("group_commit_per_second")
    return run.rate("acked") / limit if limit and run.counts.get("acked") else None


def memory_of(run: Run, *kinds: str) -> int:
    """Bytes of resident memory of these kinds of process; all but the generator if none is named."""
    return sum(use.rss_bytes for use in run.uses if (use.kind in kinds if kinds else use.kind != "generator"))


def is_held(run: Run) -> bool:
    """Whether the run came to its end and nothing was wrong."""
    return not run.failure and (run.verification is None or run.verification.is_held)


def rows_of(report: Report) -> list[Row]:
    """A row a run, in order."""
    return [
        Row(
            (
                f"{run.scenario}: {run.title}" if run.title else run.scenario,
                _rate_in_words(run),
                _latency_in_words(run),
                _cpu_in_words(run),
                _memory_in_words(run),
                _ratio_in_words(ratio_to_limit(run, report.limits)),
                _verdict(run),
            ),
            is_held(run),
        )
        for run in report.runs
    ]


def _rate_in_words(run: Run) -> str:
    headline = headline_of(run)
    count = run.counts.get(headline.count, 0)
    noun = _PLURALS.get(headline.noun, f"{headline.noun}s")
    if not headline.count or not count:
        return _NONE
    return f"{in_digits(run.rate(headline.count))} {noun}/s" if headline.is_flow else f"{in_digits(count)} {noun}"


def _latency_in_words(run: Run) -> str:
    found = latency_of(run)
    if found is None:
        return _NONE
    name, latency = found
    shown = [in_digits(latency.percentiles_ms[each]) for each in ("50", "99") if each in latency.percentiles_ms]
    return f"{name.replace('_', ' ')} {' / '.join(shown)}"


def _cpu_in_words(run: Run) -> str:
    """What one of the count cost the server's side; of streams that are held, their part of a core."""
    used = [use for use in run.uses if use.kind != "generator"]
    if not used or not run.seconds:
        return _NONE
    headline = headline_of(run)
    if not headline.is_flow:
        return f"{in_digits(100 * sum(use.cpu_seconds for use in used) / run.seconds)} % of a core"
    whole = run.cpu_us_per(headline.count)
    if whole is None:
        return _NONE
    return f"{in_digits(whole)} = {_sum(run.cpu_us_per(headline.count, *kinds) for kinds in PARTS.values())}"


def _memory_in_words(run: Run) -> str:
    if not memory_of(run):
        return _NONE
    whole = _sum(memory_of(run, *kinds) / _MIB for kinds in PARTS.values())
    each = run.figures.get("rss_bytes_per_stream")
    return whole if each is None else f"{whole}; {in_bytes(each)} a stream"


def _sum(parts: Iterable[float | None]) -> str:
    """Parts of a whole, with as many digits as they need side by side; databases elsewhere are "?"."""
    return " + ".join("?" if part is None else f"{part:,.0f}" if part >= 10 else f"{part:.1f}" for part in parts)


def _ratio_in_words(ratio: float | None) -> str:
    return _NONE if ratio is None else f"{ratio:.2f}"


def _verdict(run: Run) -> str:
    words = []
    if run.failure:
        words.append(f"failed: {run.failure}")
    if run.verification is not None:
        words.append(_verification_in_words(run.verification))
    return "; ".join(words) or _NONE


def _verification_in_words(verification: Verification) -> str:
    wrong = {
        "lost": verification.lost,
        "doubled": verification.doubled,
        "disordered": verification.disordered,
        "altered": verification.altered,
    }
    found = ", ".join(f"{count:,} {name}" for name, count in wrong.items() if count)
    return f"{found} of {verification.checked:,}" if found else f"all {verification.checked:,}"
