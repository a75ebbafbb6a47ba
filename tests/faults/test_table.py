"""The table is the median of the runs, and hides nothing that was lost in one of them."""

from typing import Any

from tests.faults.table import to_tables


def row(name: str, acked: int, latest: float, *, lost: int = 0, recovery: float | None = None) -> dict[str, Any]:
    bounds = [{"what": "first answer", "limit": 3.0, "seen": latest}]
    numbers = {"acked": acked, "lost": lost, "doubled": 0, "recovery": recovery, "silence": 0.5, "latest": latest}
    return {"name": name, **numbers, "broken": ["dense"] if lost else [], "notes": {}, "bounds": bounds}


def test_numbers_are_medians_and_losses_are_the_most_of_any_run() -> None:
    runs = [
        {"seed": 1, "rows": [row("kill", 100, 1.0, recovery=0.25), row("kill", 5, 9.0), row("! mutant", 1, 1.0)]},
        {"seed": 2, "rows": [row("kill", 300, 3.0)]},
        {"seed": 3, "rows": [row("kill", 200, 2.0, lost=1), row("cut", 7, 0.5)]},
    ]
    assert to_tables(runs) == [
        "Median of 3 runs; seeds 1, 2, 3.",
        "",
        "| fault | acked | lost | doubled | recovery, s | silence, s | latest, s |",
        "|---|---:|---:|---:|---:|---:|---:|",
        "| kill | 200 | 1 | 0 | 0.25 | 0.50 | 2.00 | BROKEN: dense",
        "| cut (1 of 3 runs) | 7 | 0 | 0 | - | 0.50 | 0.50 |",
        "",
        "| bound | fault | limit, s | seen, s | most, s |",
        "|---|---|---:|---:|---:|",
        "| first answer | cut | 3 | 0.50 | 0.50 |",
        "| first answer | kill | 3 | 2.00 | 3.00 |",
        "",
    ]
