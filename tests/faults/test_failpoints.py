"""Failpoints: no name and no place is guessed, and the product has none of them."""

import json
import sys
from pathlib import Path

import pytest

from tests.faults import failpoints
from tests.faults.armed_service import serve_command
from tests.support.servers import SERVE, running_server

NOTHING: failpoints.Parts = object()  # type: ignore[assignment] # touched by no refusal
ROOT = Path(__file__).parents[2]
PRODUCT = ("service", "storage", "bench", "deploy", "clients/python/parley")


def test_unknown_name_is_an_error_and_arms_none() -> None:
    with pytest.raises(failpoints.FailpointError, match="no failpoint no_such"):
        failpoints.arm(NOTHING, ["no_sweep", "no_such"])


def test_place_that_is_not_there_any_more_is_an_error() -> None:
    with pytest.raises(failpoints.FailpointError, match="has no gone"):
        failpoints.put(object(), "gone", None)


def test_server_without_failpoints_is_the_product_itself() -> None:
    assert serve_command([]) == SERVE == (sys.executable, "-m", "service", "serve")


def test_every_worker_of_an_armed_server_has_the_failpoints_from_its_start() -> None:
    with running_server(workers=2, command=serve_command(["no_sweep", "no_dedupe"])) as server:
        armed = [json.loads(line) for line in server.output if "failpoints are on" in line]
    assert sorted(line["process"] for line in armed) == ["worker 0", "worker 1"]
    assert all("no_sweep" in line["names"] and "no_dedupe" in line["names"] for line in armed)


def test_product_has_no_word_of_failpoints() -> None:
    files = [path for folder in PRODUCT for path in (ROOT / folder).rglob("*") if path.is_file()]
    assert len(files) > 200
    found = [path for path in files if path.suffix != ".pyc" and b"failpoint" in path.read_bytes().lower()]
    assert found == []
