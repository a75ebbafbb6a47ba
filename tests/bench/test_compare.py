"""Two reports side by side: what got better or worse beyond noise, what has no match, and when that is a failure."""

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from bench.report.commands import compare_command, page_command
from bench.report.compare import Mark, compare
from bench.results import FORMAT, Report, Run, Verification
from tests.bench.reports import make_report, make_run


def invoke(*arguments: object, command: object = compare_command) -> Result:
    """Runs the command with these arguments."""
    app = typer.Typer()
    app.command()(command)  # type: ignore[type-var]
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [str(each) for each in arguments])


def write(path: Path, *runs: Run) -> Path:
    """Writes a report of these runs."""
    make_report(*runs).write(path)
    return path


def marks_of(old: Run, new: Run) -> dict[str, Mark]:
    """What became of each measure."""
    (pair,) = compare(make_report(old), make_report(new)).pairs
    return {change.measure: change.mark for change in pair.changes}


def test_more_messages_are_better_and_more_cost_is_worse() -> None:
    assert marks_of(make_run(), make_run(per_second=25_000, cpu_us=30, p50_ms=5.0, server_mib=200)) == {
        "acked a second": Mark.BETTER,
        "CPU us a message": Mark.BETTER,
        "delivery p50, ms": Mark.WORSE,
        "delivery p99, ms": Mark.WORSE,
        "memory of the workers, MiB": Mark.WORSE,
    }


@pytest.mark.parametrize(
    ("per_second", "mark"),
    [(18_100, Mark.SAME), (21_900, Mark.SAME), (17_900, Mark.WORSE), (22_100, Mark.BETTER)],
)
def test_what_changed_by_a_tenth_or_less_is_noise(per_second: float, mark: Mark) -> None:
    assert marks_of(make_run(), make_run(per_second=per_second))["acked a second"] is mark


def test_streams_that_are_held_are_compared_by_their_part_of_a_core() -> None:
    old, new = (make_run("idle", "", count="streams", per_second=100, cpu_us=cpu, latency="") for cpu in (900, 300))
    assert marks_of(old, new)["CPU, % of a core"] is Mark.BETTER


def test_what_only_one_has_measured_is_not_compared() -> None:
    bare = Run("chat", "8 streams", {}, 10.0, {"acked": 200_000})
    assert list(marks_of(make_run(), bare)) == ["acked a second"]


def test_runs_are_matched_by_scenario_and_title_and_in_order_where_those_repeat() -> None:
    old = make_report(make_run(per_second=1), make_run(per_second=2), make_run("send"), make_run(title="gone"))
    new = make_report(make_run("send"), make_run(per_second=10), make_run(per_second=20), make_run("pull"))
    found = compare(old, new)
    rates = {pair.name: (pair.changes[0].old, pair.changes[0].new) for pair in found.pairs}
    assert rates == {
        "chat: 8 streams": (1, 10),
        "chat: 8 streams (2)": (2, 20),
        "send: 8 streams": (20_000, 20_000),
    }
    assert (found.only_old, found.only_new) == (("chat: gone",), ("pull: 8 streams",))


def test_machines_and_parameters_that_differ_are_said() -> None:
    old, new = make_report(make_run(frame=1)), make_report(make_run(frame=20))
    new = Report(new.command, new.time, {**new.machine, "cores": "64", "disk": "fast"}, new.runs)
    found = compare(old, new)
    assert found.differences == ("cores: 2 / 64", "disk: not known / fast")
    assert found.pairs[0].remarks == ("other frame",)


def test_command_shows_changes_and_what_has_no_match(tmp_path: Path) -> None:
    old = write(tmp_path / "a.json", make_run(), make_run(title="[b]gone[/b]"))
    new = write(tmp_path / "b.json", make_run(per_second=10_000), make_run(title="fresh"))
    result = invoke(old, new)
    assert result.exit_code == 0, result.output
    assert re.search(r"chat: 8 streams +acked a second +20,000 +10,000 +0\.50 +worse", result.output), result.output
    assert "only in A: chat: [b]gone[/b]" in result.output
    assert "only in B: chat: fresh" in result.output


@pytest.mark.parametrize(("percent", "exit_code"), [(49, 1), (51, 0)])
def test_fail_over_fails_only_beyond_its_percentage(tmp_path: Path, percent: int, exit_code: int) -> None:
    old = write(tmp_path / "a.json", make_run())
    new = write(tmp_path / "b.json", make_run(per_second=10_000))
    result = invoke(old, new, "--fail-over", percent)
    assert result.exit_code == exit_code
    assert ("parley: chat: 8 streams: acked a second +50%" in result.output) == bool(exit_code)


def test_fail_over_takes_no_improvement_for_a_failure(tmp_path: Path) -> None:
    old = write(tmp_path / "a.json", make_run())
    new = write(tmp_path / "b.json", make_run(per_second=90_000, cpu_us=1, p50_ms=0.1, server_mib=5))
    assert invoke(old, new, "--fail-over", 0).exit_code == 0


def test_run_that_failed_is_told_and_fails_where_it_is_asked(tmp_path: Path) -> None:
    old = write(tmp_path / "a.json", make_run(failure="was stopped"))
    new = write(tmp_path / "b.json", make_run(verification=Verification(9, lost=1)))
    result = invoke(old, new)
    assert (result.exit_code, "the old run failed; the new run failed" in result.output) == (0, True)
    assert invoke(old, new, "--fail-over", 1000).exit_code == 1


def test_reports_without_a_common_run_are_an_error(tmp_path: Path) -> None:
    result = invoke(write(tmp_path / "a.json", make_run()), write(tmp_path / "b.json", make_run("send")))
    assert result.exit_code == 1
    assert "the reports have no run in common" in result.output


def test_files_that_are_no_reports_are_named(tmp_path: Path) -> None:
    good, other, newer = write(tmp_path / "a.json", make_run()), tmp_path / "b.json", tmp_path / "c.json"
    other.write_text("{}")
    newer.write_text(f'{{"format": {FORMAT + 1}}}')
    for file, words in ((other, "is no report"), (newer, "newer parley bench"), (tmp_path / "absent", "can't read")):
        result = invoke(good, file)
        assert result.exit_code == 1
        assert re.search(rf"parley: .*{re.escape(file.name)}", result.output.replace("\n", "")), result.output
        assert words in result.output
        assert isinstance(result.exception, SystemExit)


def test_page_command_prints_the_table_and_writes_what_is_asked(tmp_path: Path) -> None:
    file = write(tmp_path / "a.json", make_run(), make_run("send"))
    result = invoke(file, "--html", tmp_path / "a.html", "--png", tmp_path / "png", command=page_command)
    assert result.exit_code == 0, result.output
    assert "20,000 messages/s" in result.output
    assert (tmp_path / "a.html").stat().st_size > 10_000
    assert len(list((tmp_path / "png").iterdir())) == 2
    assert invoke(file, "--markdown", command=page_command).output.startswith("| run | rate |")


def test_page_command_says_what_it_can_not_write(tmp_path: Path) -> None:
    result = invoke(write(tmp_path / "a.json", make_run()), "--html", tmp_path / "no" / "a.html", command=page_command)
    assert result.exit_code == 1
    assert "can't be written" in result.output
