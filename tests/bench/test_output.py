"""Files of results: whole or not at all, and what can't be written is said by name."""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.output import check_place, in_words, write_whole


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """As on a full disk: what is written ends early. So does what pytest writes to a file, so no test is run in it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_was_there_stays_where_there_is_no_room(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_whole(path, b"before")
    with no_room(), pytest.raises(OSError, match="File too large") as caught:
        write_whole(path, b"x" * 1000)
    assert in_words(caught.value) == f"{path} can't be written: File too large"
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "nowhere"
    path.symlink_to("/dev/null")
    write_whole(path, b"data")
    assert path.is_symlink()


def test_place_where_nothing_can_be_written_is_refused(tmp_path: Path) -> None:
    check_place(None)
    check_place(tmp_path / "report.json")
    with pytest.raises(BenchError, match="it is a directory"):
        check_place(tmp_path)
    with pytest.raises(BenchError, match="there is no directory"):
        check_place(tmp_path / "no" / "report.json")
