"""The page of the start and the stop lists what the code calls, in the order in which the code calls it."""

import ast
import re

import pytest

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "start-and-stop.md").read_text()


def list_calls(module: str, function: str) -> list[str]:
    """Lists the calls of a function by dotted name, in the order of the text; what is called inside others included."""
    tree = ast.parse((ROOT / module).read_text())
    (found,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function
    ]
    calls = [node for node in ast.walk(found) if isinstance(node, ast.Call)]
    calls.sort(key=lambda node: (node.lineno, node.col_offset))
    return [ast.unparse(node.func) for node in calls]


def list_steps(heading: str) -> list[str]:
    """Lists the names in code that begin the numbered lines under a heading."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    heads = re.findall(r"^\d+\. (.+?): ", section, re.MULTILINE)
    return [name for head in heads for name in re.findall(r"`([\w.]+)`", head)]


@pytest.mark.parametrize(
    ("heading", "module", "function"),
    [
        ("The supervisor", "service/host/supervisor.py", "_serve"),
        ("A worker comes up", "service/worker/server.py", "run_worker"),
        ("A worker goes down", "service/worker/server.py", "_close"),
    ],
)
def test_steps_are_called_in_the_order_of_the_page(heading: str, module: str, function: str) -> None:
    steps = list_steps(heading)
    assert len(steps) > 8
    calls = iter(list_calls(module, function))
    for step in steps:
        assert any(call == step or call.endswith(f".{step}") for call in calls), (
            f"{step} is not called after those before"
        )


def test_page_leaves_out_nothing_that_is_closed() -> None:
    closing = [call for call in list_calls("service/worker/server.py", "_close") if call.endswith((".close", ".flush"))]
    assert len(closing) > 8
    assert len(closing) == len([step for step in list_steps("A worker goes down") if step != "cancel"])
