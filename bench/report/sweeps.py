"""Runs that differ in one parameter alone: what a line in a picture is drawn from. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.results import Run

Value = str | int | float | bool

# These say how a run was made, not what was asked of the server: they may differ along a line.
_ASIDE = frozenset({"seconds", "warm_up", "warmup", "processes", "generators", "seed", "target", "title"})


@dataclass(frozen=True, slots=True)
class Sweep:
    """Runs of a scenario along one parameter, in its order.

    Attributes:
        label: what sets it apart from other sweeps of the scenario; the scenario alone if there are none.
    """

    scenario: str
    parameter: str
    label: str
    runs: tuple[Run, ...]

    @property
    def xs(self) -> list[float]:
        """The parameter's values."""
        return [float(run.parameters[self.parameter]) for run in self.runs]


def find_sweeps(runs: Sequence[Run], parameter: str, has_value: Callable[[Run], bool]) -> list[Sweep]:
    """Gathers the runs in which only this parameter differs, at least two values of it.

    Args:
        has_value: whether a run has what is to be drawn; the others are left out. Of runs with equal parameters the
            last one counts.
    """
    groups: dict[tuple[str, frozenset[tuple[str, Value]]], dict[float, Run]] = {}
    for run in runs:
        x = run.parameters.get(parameter)
        if isinstance(x, bool) or not isinstance(x, int | float) or x <= 0 or not has_value(run):
            continue
        rest = frozenset(
            (name, value) for name, value in run.parameters.items() if name != parameter and name not in _ASIDE
        )
        groups.setdefault((run.scenario, rest), {})[float(x)] = run
    wide = {key: points for key, points in groups.items() if len(points) > 1}
    sweeps = []
    for (scenario, rest), points in wide.items():
        others = [other for name, other in wide if name == scenario]
        label = _label(scenario, rest, others)
        sweeps.append(Sweep(scenario, parameter, label, tuple(points[x] for x in sorted(points))))
    return sweeps


def _label(scenario: str, own: frozenset[tuple[str, Value]], all_of: Sequence[frozenset[tuple[str, Value]]]) -> str:
    """The scenario, and those parameters in which the sweeps differ."""
    common = frozenset.intersection(*all_of)
    telling = ", ".join(f"{name.replace('_', ' ').replace('-', ' ')} {value}" for name, value in sorted(own - common))
    return f"{scenario}, {telling}" if telling else scenario
