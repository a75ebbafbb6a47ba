"""Pictures and the page: drawn from the runs that there are, with labels, and needing nothing from elsewhere."""

import re
import struct
from pathlib import Path

import pytest

from bench.report.charts import Picture, draw
from bench.report.page import to_html, write_page, write_pictures
from bench.report.sweeps import find_sweeps
from bench.results import Latency, Report, Run
from tests.bench.reports import make_report, make_run, make_whole_report


@pytest.fixture(scope="module")
def whole() -> Report:
    """A report with all there can be."""
    return make_whole_report()


@pytest.fixture(scope="module")
def pictures(whole: Report) -> dict[str, Picture]:
    """Its pictures by name."""
    return {picture.name: picture for picture in draw(whole)}


def texts_of(picture: Picture) -> list[str]:
    """What is written in a picture: letters are drawn, and each text stands in a comment."""
    return re.findall(r"<!-- (.*?) -->", picture.svg.decode())


def test_whole_report_has_every_picture(pictures: dict[str, Picture]) -> None:
    assert list(pictures) == [
        "latency-by-rate-chat",
        "rate-by-frame",
        "memory-by-streams",
        "cost-by-size",
        "latency-of-runs",
        "cost-of-runs",
    ]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("latency-by-rate-chat", ["messages offered a second", "delivery latency, ms", "p50", "p99.9", "1k", "10k"]),
        ("rate-by-frame", ["messages a frame", "messages a second", "1", "100"]),
        ("memory-by-streams", ["open streams", "resident memory of the workers, MiB", "idle: 52 KiB a stream"]),
        ("cost-by-size", ["microseconds of CPU each", "conversations", "streams", "messages in the log", "1M"]),
        ("latency-of-runs", ["milliseconds", "p50", "p99", "fanout: 1 to 1,000 streams (delivery)"]),
        ("cost-of-runs", ["microseconds of CPU for each message or delivery", "server", "PostgreSQL", "Valkey"]),
    ],
)
def test_axes_say_what_they_show_with_units(pictures: dict[str, Picture], name: str, labels: list[str]) -> None:
    assert set(labels) <= set(texts_of(pictures[name]))


def test_pictures_are_white_and_wide_enough_to_read(pictures: dict[str, Picture]) -> None:
    for picture in pictures.values():
        assert picture.png.startswith(b"\x89PNG")
        width, height = struct.unpack("!II", picture.png[16:24])
        assert width == 1125
        assert 400 < height < 6000
        assert "fill: #ffffff" in picture.svg.decode()[:2000]


def test_equal_reports_give_equal_pictures(pictures: dict[str, Picture]) -> None:
    report = make_whole_report()
    some = [run for run in report.runs if "rate" in run.parameters]
    again = draw(make_report(*some))
    assert again[0] == pictures["latency-by-rate-chat"]
    assert again == draw(make_report(*some))


def test_report_with_single_runs_has_no_lines() -> None:
    assert [picture.name for picture in draw(make_report(make_run(rate=5.0)))] == ["latency-of-runs", "cost-of-runs"]


def test_report_of_limits_alone_has_no_pictures() -> None:
    assert draw(make_report()) == []


def test_run_that_measured_nothing_is_left_out() -> None:
    empty = Run("chat", "broken", {"rate": 1.0}, 0.0, {}, latencies={"delivery": Latency(0, {})})
    assert draw(make_report(empty)) == []


def test_five_parameters_take_two_rows() -> None:
    runs = [
        make_run(title=f"{name} {value}", **{name: value})
        for name in ("conversations", "streams", "readers", "history", "workers")
        for value in (1, 2)
    ]
    (picture,) = (each for each in draw(make_report(*runs)) if each.name == "cost-by-size")
    assert struct.unpack("!II", picture.png[16:24])[1] == 2 * 540
    assert {"worker processes", "readers"} <= set(texts_of(picture))


def test_sweep_holds_runs_that_differ_in_one_parameter_alone() -> None:
    runs = [
        make_run(title="c", streams=30, frame=1, seed=3),
        make_run(title="a", streams=10, frame=1, seed=1),
        make_run(title="x", streams=10, frame=20),
        make_run(title="y", streams=30, frame=20),
        make_run(title="alone", streams=30, frame=5),
        make_run("send", "other", streams=10, frame=1),
        make_run(title="untold", streams="many", frame=1),
    ]
    sweeps = find_sweeps(runs, "streams", lambda run: True)
    assert [(sweep.label, sweep.xs, [run.title for run in sweep.runs]) for sweep in sweeps] == [
        ("chat, frame 1", [10.0, 30.0], ["a", "c"]),
        ("chat, frame 20", [10.0, 30.0], ["x", "y"]),
    ]


def test_sweep_leaves_out_runs_without_the_value_and_takes_the_last_of_equal_ones() -> None:
    runs = [
        make_run(title="first", rate=1.0),
        make_run(title="again", rate=1.0),
        make_run(title="two", rate=2.0),
        make_run(title="no", rate=3.0, latency=""),
    ]
    (sweep,) = find_sweeps(runs, "rate", lambda run: bool(run.latencies))
    assert [run.title for run in sweep.runs] == ["again", "two"]


def test_files_are_written_and_written_over(tmp_path: Path) -> None:
    report = make_report(make_run())
    first = write_pictures(report, tmp_path / "new" / "pictures")
    assert [path.name for path in first] == ["latency-of-runs.png", "cost-of-runs.png"]
    before = first[0].read_bytes()
    first[0].write_bytes(b"")
    assert write_pictures(report, tmp_path / "new" / "pictures")[0].read_bytes() == before


def test_page_needs_nothing_from_elsewhere(whole: Report, pictures: dict[str, Picture]) -> None:
    text = to_html(whole, list(pictures.values()))
    outside = re.sub(r'src="data:image/svg\+xml;base64,[A-Za-z0-9+/=]+"', "", text)
    assert not re.search(r"https?:|src=|href=|url\(|<script|@import", outside)
    assert "default-src 'none'" in text
    assert text.count("<img") == 6
    assert all(f'alt="{picture.words}"' in text for picture in pictures.values())


def test_page_is_written_as_a_whole(tmp_path: Path) -> None:
    report = make_report(make_run())
    write_page(report, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == to_html(report, draw(report))


def test_page_says_command_time_machine_limits_and_what_failed(whole: Report) -> None:
    text = to_html(whole, [])
    for words in (
        "parley bench suite",
        "2026-11-22T10:00:00+00:00",
        "Some Processor",
        "60,000 rows/s",
        "2 of 26 runs failed",
        "3 lost of 1,200,000",
        "failed: the server ended",
        "<td>--frame</td><td>20</td>",
    ):
        assert words in text, words
    assert text.count("<tr class=bad>") == 2


def test_page_takes_no_text_for_markup() -> None:
    evil = "<script>alert('x')</script>\"&"
    run = make_run(evil, evil, failure=evil, **{evil: evil})
    text = to_html(Report(evil, evil, {evil: evil}, (run,), {evil: 1.0}), [Picture(evil, evil, b"", b"")])
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert 'alt="&lt;script' in text
