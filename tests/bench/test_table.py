"""A report as a table: each run's numbers in its row, and what failed is seen."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from bench.report.summary import COLUMNS, ratio_to_limit, rows_of
from bench.report.table import to_markdown, to_page, to_rich
from bench.report.words import describe_limits, describe_machine_of, in_bytes, in_digits
from bench.results import Run, Verification
from tests.bench.reports import LIMITS, MACHINE, make_report, make_run, make_whole_report


def show(*runs: Run) -> list[str]:
    """The cells of the last run's row."""
    return list(rows_of(make_report(*runs))[-1].cells)


def test_row_of_a_chat_has_rate_latency_cost_memory_ratio_and_verdict() -> None:
    run = make_run(verification=Verification(checked=200_000))
    assert show(run) == [
        "chat: 8 streams",
        "20,000 messages/s",
        "delivery 2 / 9",
        "40.0 = 26 + 12 + 1.6",
        "150 + 90 + 12",
        "0.33",
        "all 200,000",
    ]


def test_generator_costs_the_server_nothing() -> None:
    run = make_run(cpu_us=100)
    assert sum(use.cpu_seconds for use in run.uses) == pytest.approx(2 * 100 * 0.2, rel=0.01)
    assert show(run)[3].startswith("100 = ")


def test_row_of_what_was_not_measured_has_dashes() -> None:
    assert show(Run("idle", "", {}, 0.0, {})) == ["idle", "-", "-", "-", "-", "-", "-"]


def test_streams_that_are_held_have_no_rate_and_cost_a_part_of_a_core() -> None:
    run = make_run("idle", "many", count="streams", per_second=100, cpu_us=900, latency="")
    assert show(run)[1:4] == ["1,000 streams", "-", "9.10 % of a core"]


def test_scenario_of_a_later_version_is_shown_by_its_first_count() -> None:
    run = make_run("search", "", count="found", latency="search")
    assert show(run)[:3] == ["search", "20,000 events/s", "search 2 / 9"]


def test_ratio_is_of_what_was_stored_and_only_where_the_limit_was_measured() -> None:
    assert ratio_to_limit(make_run(per_second=30_000), LIMITS) == pytest.approx(0.5)
    assert ratio_to_limit(make_run(), {}) is None
    assert ratio_to_limit(make_run("pull", count="pulled"), LIMITS) is None


@pytest.mark.parametrize(
    ("run", "verdict"),
    [
        (make_run(verification=Verification(100, lost=3, altered=1)), "3 lost, 1 altered of 100"),
        (make_run(failure="the server ended"), "failed: the server ended"),
        (make_run(failure="x", verification=Verification(100)), "failed: x; all 100"),
    ],
)
def test_run_that_is_not_held_is_told_and_stands_out(run: Run, verdict: str) -> None:
    report = make_report(make_run(verification=Verification(7)), run)
    assert [row.is_held for row in rows_of(report)] == [True, False]
    assert rows_of(report)[1].cells[-1] == verdict
    markdown = to_markdown(report).splitlines()
    assert "**" not in markdown[2]
    assert f"**{verdict}**" in markdown[3]


def test_markdown_keeps_a_row_a_line_whatever_titles_hold() -> None:
    report = make_report(make_run(title="a | b\nc \\ d"))
    lines = to_markdown(report).splitlines()
    assert len(lines) == 3
    assert r"chat: a \| b c \\ d" in lines[2]
    assert all(line.replace(r"\|", "").count("|") == len(COLUMNS) + 1 for line in lines)


def test_terminal_shows_every_run_and_takes_no_title_for_markup() -> None:
    report = make_whole_report()
    report = make_report(*report.runs, make_run(title="[bold]kept[/]"))
    out = io.StringIO()
    Console(file=out, width=240).print(to_rich(report))
    text = out.getvalue()
    assert all(run.title in text for run in report.runs)
    assert "3 lost of 1,200,000" in text


def test_numbers_have_about_three_digits() -> None:
    shown = [in_digits(value) for value in (71_034.4, 340.6, 12.34, 0.4249, 3.0, 0.0)]
    assert shown == ["71,034", "341", "12.3", "0.42", "3", "0"]
    assert [in_bytes(value) for value in (52 * 1024, 120.5 * 1024**2, 24 * 1024**3)] == ["52 KiB", "120 MiB", "24 GiB"]


def test_machine_and_limits_are_in_words_and_unknown_ones_are_kept() -> None:
    assert dict(describe_machine_of(MACHINE))["memory"] == "24 GiB"
    assert dict(describe_machine_of({"weather": "fine"})) == {"weather": "fine"}
    words = describe_limits({"speed_of_light": 3.0, **LIMITS})
    assert words[0] == ("group commit, the best", "60,000 rows/s")
    assert words[-1] == ("speed_of_light", "3")


def test_page_names_command_time_machine_and_limits_and_has_the_table() -> None:
    report = make_whole_report()
    page = to_page(report)
    for words in (report.command, report.time, *[value for _, value in describe_machine_of(report.machine)]):
        assert words in page
    assert to_markdown(report).strip() in page
    for pair in describe_limits(report.limits):
        assert "| {} | {} |".format(*pair) in page
    assert "at most" not in to_page(replace(report, limits={}))
