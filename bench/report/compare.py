"""Two reports, run by run: what is better, what is worse, and by how much. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.report.summary import headline_of, is_held, latency_of, memory_of
from bench.results import Report, Run

NOISE = 0.10  # runs of the same code on a quiet machine differ by this much

_PERCENTILES = ("50", "99")


class Mark(StrEnum):
    """What a change means."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "within noise"


@dataclass(frozen=True, slots=True)
class Change:
    """One measure in both reports.

    Attributes:
        measure: what it is, with its unit.
        ratio: the new value as a part of the old one.
        worsening: by which part it got worse; below 0: it got better.
    """

    measure: str
    old: float
    new: float
    ratio: float
    worsening: float

    @property
    def mark(self) -> Mark:
        """Whether it changed by more than noise, and which way."""
        if abs(self.ratio - 1) <= NOISE:
            return Mark.SAME
        return Mark.WORSE if self.worsening > 0 else Mark.BETTER


@dataclass(frozen=True, slots=True)
class Pair:
    """A run that is in both.

    Attributes:
        remarks: why its numbers may not be comparable, or not to be believed.
    """

    name: str
    changes: tuple[Change, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs.

    Attributes:
        only_old: names of runs that the new report lacks; `only_new` the other way.
        differences: of the machines, one line each.
    """

    pairs: tuple[Pair, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    differences: tuple[str, ...]

    def worse_by(self, part: float) -> list[str]:
        """Names what got worse by more than this part, 0.2 being a fifth."""
        return [
            f"{pair.name}: {change.measure} {change.worsening:+.0%}"
            for pair in self.pairs
            for change in pair.changes
            if change.worsening > part
        ]


def compare(old: Report, new: Report) -> Comparison:
    """Matches runs by scenario and title, in order where several have the same."""
    before, after = _by_name(old.runs), _by_name(new.runs)
    machines = sorted(set(old.machine) | set(new.machine))
    return Comparison(
        pairs=tuple(_pair(name, run, after[name]) for name, run in before.items() if name in after),
        only_old=tuple(name for name in before if name not in after),
        only_new=tuple(name for name in after if name not in before),
        differences=tuple(
            f"{name}: {old.machine.get(name, 'not known')} / {new.machine.get(name, 'not known')}"
            for name in machines
            if old.machine.get(name) != new.machine.get(name)
        ),
    )


def _by_name(runs: Sequence[Run]) -> dict[str, Run]:
    seen: Counter[str] = Counter()
    named = {}
    for run in runs:
        name = f"{run.scenario}: {run.title}" if run.title else run.scenario
        seen[name] += 1
        named[name if seen[name] == 1 else f"{name} ({seen[name]})"] = run
    return named


def _pair(name: str, old: Run, new: Run) -> Pair:
    remarks = [f"the {which} run failed" for which, run in (("old", old), ("new", new)) if not is_held(run)]
    differing = sorted(
        each for each in {*old.parameters, *new.parameters} if old.parameters.get(each) != new.parameters.get(each)
    )
    if differing:
        remarks.append(f"other {', '.join(differing)}")
    return Pair(name, tuple(_changes(old, new)), tuple(remarks))


def _changes(old: Run, new: Run) -> Iterator[Change]:
    """What both have measured: rate (more is better), then costs (less is better)."""
    headline = headline_of(new)
    if headline.is_flow:
        yield from _change(f"{headline.count} a second", old.rate(headline.count), new.rate(headline.count), 1)
        yield from _change(
            f"CPU us a {headline.noun}", old.cpu_us_per(headline.count), new.cpu_us_per(headline.count), -1
        )
    else:
        yield from _change("CPU, % of a core", _core_percent(old), _core_percent(new), -1)
    before, after = latency_of(old), latency_of(new)
    if before is not None and after is not None and before[0] == after[0]:
        name = before[0].replace("_", " ")
        for percentile in _PERCENTILES:
            low, high = (each[1].percentiles_ms.get(percentile) for each in (before, after))
            yield from _change(f"{name} p{percentile}, ms", low, high, -1)
    sizes = [memory_of(run, "server") / 1024**2 for run in (old, new)]
    yield from _change("memory of the workers, MiB", sizes[0], sizes[1], -1)


def _change(measure: str, old: float | None, new: float | None, better: int) -> Iterator[Change]:
    """A change, where both were measured; `better` is the direction, 1 up, -1 down."""
    if old and new:
        yield Change(measure, old, new, new / old, better * (1 - new / old))


def _core_percent(run: Run) -> float:
    used = sum(use.cpu_seconds for use in run.uses if use.kind != "generator")
    return 100 * used / run.seconds if run.seconds else 0.0
