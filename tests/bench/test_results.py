"""Reports as files: what is written is read again, newer fields do no harm, and other files are refused in a line."""

import dataclasses
import json
from pathlib import Path

import pytest

from bench.machine import describe_machine
from bench.results import FORMAT, Latency, ProcessUse, Report, Run, Verification

RUN = Run(
    scenario="chat",
    title="16 streams",
    parameters={"streams": 16, "rate": 1000.0, "tls": False, "text": "x"},
    seconds=5.0,
    counts={"acked": 50_000},
    errors={"RATE_LIMITED": 2},
    latencies={"ack": Latency(50_000, {"50": 1.5, "99": 9.0}, "HISTFAAA")},
    uses=(
        ProcessUse("server", 2, 1.5, 100_000_000),
        ProcessUse("postgresql", 9, 0.5, 60_000_000),
        ProcessUse("generator", 1, 7.0, 50_000_000),
    ),
    figures={"offered_per_second": 1000.0},
    verification=Verification(checked=100_000),
)
REPORT = Report("parley bench chat", "2026-11-22T10:00:00Z", {"cores": "2"}, (RUN,), {"fsync_per_second": 3000.0})


def test_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    REPORT.write(path)
    assert Report.read(path) == REPORT
    assert [each.name for each in tmp_path.iterdir()] == ["report.json"]


def test_fields_that_a_later_version_adds_are_passed_over(tmp_path: Path) -> None:
    data = {"format": FORMAT, **dataclasses.asdict(REPORT), "weather": "fine"}
    data["runs"][0]["mood"] = {"calm": 1}
    path = tmp_path / "report.json"
    path.write_text(json.dumps(data))
    assert Report.read(path) == REPORT


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no report of parley bench: it is no JSON"),
        ("[1]", "no report of parley bench"),
        ('{"runs": []}', "no report of parley bench"),
        (f'{{"format": {FORMAT + 1}}}', "written by a newer parley bench"),
        (f'{{"format": {FORMAT}, "command": "", "time": "", "machine": {{}}, "runs": [{{}}]}}', r"runs\.0\.scenario"),
        (f'{{"format": {FORMAT}, "command": "", "time": "", "machine": 3}}', "machine"),
    ],
)
def test_other_files_are_refused_with_their_name(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"other\.json .*{why}"):
        Report.read(path)


def test_file_of_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ValueError, match=r"picture\.png is no report"):
        Report.read(path)


def test_processor_time_a_message_leaves_the_generator_out() -> None:
    assert RUN.cpu_us_per("acked") == pytest.approx(40.0)
    assert RUN.cpu_us_per("acked", "postgresql") == pytest.approx(10.0)
    assert RUN.cpu_us_per("pulled") is None
    assert RUN.rate("acked") == 10_000.0


def test_machine_is_described_in_text() -> None:
    machine = describe_machine()
    assert set(machine) == {"cores", "memory_bytes", "processor", "kernel", "python", "parley"}
    assert all(machine.values())
    assert int(machine["cores"]) >= 1
