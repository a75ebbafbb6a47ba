"""What a session consists of is written by the methods of its own class alone; everybody else calls these."""

import ast
import dataclasses
from collections import deque
from collections.abc import Iterator

import pytest

from service.delivery import outbox, session, stream_state, streams, subscriptions, window
from tests.docs.pages import ROOT

CLASSES = [
    session.Session,
    outbox.Outbox,
    subscriptions.Subscriptions,
    subscriptions.Lag,
    stream_state.StreamState,
    streams.OpenStream,
    window.Window,
]
# The rooms that may import `delivery` (import-linter), and so can hold a session.
ROOMS = ["delivery", "messages", "conversations", "consumers", "presence", "receipts", "rpc", "worker"]
MUTATORS = {"add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "popleft", "remove"}
MUTATORS |= {"setdefault", "update"}
FIELDS = {name for one in CLASSES for name in one.__slots__}
CONTAINERS = {
    field.name
    for one in CLASSES
    if dataclasses.is_dataclass(one)
    for field in dataclasses.fields(one)
    if field.default_factory in (dict, list, set, deque)
}


def written(tree: ast.AST) -> Iterator[ast.Attribute]:
    """Attributes that are set, deleted, or changed in place where the name of the field is seen."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            yield node
        container: ast.AST | None = None
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            container = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            container = node.func.value
        if isinstance(container, ast.Attribute) and container.attr in CONTAINERS:
            yield container


def of_others(tree: ast.AST) -> list[str]:
    """Fields of the classes that are written on anything but `self`."""
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in written(tree)
        if node.attr in FIELDS and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_nobody_else_writes_the_fields_of_a_session(room: str) -> None:
    paths = list((ROOT / "service" / room).rglob("*.py"))
    assert paths
    found = {path.name: of_others(ast.parse(path.read_text())) for path in paths}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("lag.position = 7", 1),
        ("session.outbox.unanswered_count += 1", 1),
        ("session.subscriptions.lags[name] = lag", 1),
        ("del session.subscriptions.lags[name]", 1),
        ("lag.position, lag.is_member = 7, True", 2),
        ("session.subscriptions.lags.clear()", 1),
        ("session.subscriptions.to_catch_up.discard(name)", 1),
        ("stream.principal = principal", 1),
        ("self.lags[name] = lag", 0),
        ("x = session.subscriptions.lags[name]", 0),
        ("service.wake.clear()", 0),  # no container of a session
    ],
)
def test_such_a_line_would_be_found(line: str, count: int) -> None:
    assert len(of_others(ast.parse(line))) == count
