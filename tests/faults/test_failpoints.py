"""The switch of `service/failpoints.py`: off by default, refused without consent, and no name is guessed."""

import inspect
import re
from pathlib import Path

import pytest

from service import failpoints
from service.settings.load import load
from service.worker import server

NOTHING: failpoints.Parts = object()  # type: ignore[assignment] # touched by no refusal


def test_without_the_variable_nothing_is_touched() -> None:
    failpoints.arm(NOTHING, {})
    failpoints.arm(NOTHING, {failpoints.VARIABLE: "", failpoints.SWITCH: failpoints.CONSENT})


@pytest.mark.parametrize("consent", [{}, {failpoints.SWITCH: "yes"}])
def test_failpoints_need_consent(consent: dict[str, str]) -> None:
    with pytest.raises(failpoints.FailpointError, match="needs PARLEY_FAILPOINTS_CONSENT=lose-messages"):
        failpoints.arm(NOTHING, {failpoints.VARIABLE: "no_sweep", **consent})


def test_unknown_name_is_an_error_and_arms_none() -> None:
    with pytest.raises(failpoints.FailpointError, match="what there is not: no_such"):
        failpoints.arm(NOTHING, {failpoints.VARIABLE: "no_sweep,no_such", failpoints.SWITCH: failpoints.CONSENT})


def test_place_that_is_not_there_any_more_is_an_error() -> None:
    with pytest.raises(failpoints.FailpointError, match="has no gone"):
        failpoints._put(object(), "gone", None)


def test_switch_is_no_unknown_setting() -> None:
    assert load(environment={failpoints.VARIABLE: "no_sweep", failpoints.SWITCH: "x"}).settings


def test_service_knows_of_failpoints_in_one_place() -> None:
    users = [
        path.name
        for path in Path(inspect.getfile(server)).parents[1].rglob("*.py")
        if re.search(r"^(from|import) .*\bfailpoints\b", path.read_text(), re.MULTILINE)
    ]
    assert users == ["server.py"]
