"""docs/operations/troubleshooting.md has each message that a start, a command or the log can print, and no other.

Messages are taken from the code as it is written: `...` stands for what an f-string or a `%s` fills in, and backticks
are left out on both sides.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import ROOT

PAGE = ROOT / "docs/operations/troubleshooting.md"
LOG_LEVELS = {"warning", "error", "exception"}
TELLERS = {"fail", "BadParameter", "Lasting", "NotPrimary", "Unavailable"}
# Errors of these are for operators; other classes are for callers, or never leave the code.
ERRORS = re.compile(r"(Start|Embedded|Url|Config|SettingsFile|Keys|DataDirectory|Address|Certificate|Migration)Error")
MORE_ERRORS = re.compile(r"(Archive|Reload|Probe|Install)Error")
# What nobody is to see: these say that the code itself is wrong, or are never alone.
LEFT_OUT = (
    "PostgreSQL's programs were not looked up yet",
    "foreign keys lead in a circle",
    "the database is not open",
    "redis: ",
    "does not know the service",
    "refuses the health check",
)
FIRST_WORDS = 4
FEWEST_MESSAGES = 200  # as a check on this test: there are that many


def list_modules() -> list[Path]:
    folders = ("service", "storage")
    return [*(path for folder in folders for path in (ROOT / folder).rglob("*.py")), *(ROOT / "scripts").glob("*.py")]


def to_text(node: ast.expr) -> str:
    """A message as the code has it; what is not written there is `...`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[sd]", "...", node.value).replace("`", "")
    if isinstance(node, ast.JoinedStr):
        return "".join(to_text(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return to_text(node.left) + to_text(node.right)
    return "..."


def is_told(call: ast.Call) -> bool:
    """Whether a call makes an error for an operator, or a line of the log that is to be seen."""
    function = call.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "_log":
        return function.attr in LOG_LEVELS
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in TELLERS or bool(ERRORS.fullmatch(name) or MORE_ERRORS.fullmatch(name))


@functools.cache
def list_messages() -> dict[str, str]:
    """Returns each message with where it is."""
    found = {}
    for path in list_modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and is_told(node):
                found[to_text(node.args[0])] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return {text: place for text, place in found.items() if to_first_words(text) and not text.startswith(LEFT_OUT)}


def to_first_words(text: str) -> str:
    """What somebody searches for: the first words of the first part that is always the same; "" for none."""
    for part in text.split("..."):
        words = part.strip(" :;,.()'").split(" ")
        if len(words) > 1:
            return " ".join(words[:FIRST_WORDS])
    return ""


def list_quoted() -> Iterator[str]:
    """Lists what the first column of each table of messages quotes."""
    for table in re.findall(r"^\| message \|.*\n\|.*\n((?:\|.*\n)+)", PAGE.read_text(), re.MULTILINE):
        for row in table.splitlines():
            yield from re.findall(r"`([^`]+)`", row.split(" | ")[0])


def test_each_message_of_the_code_is_found_by_its_first_words() -> None:
    messages = list_messages()
    assert len(messages) > FEWEST_MESSAGES
    quoted = "\n".join(list_quoted())
    assert [(place, text) for text, place in messages.items() if to_first_words(text) not in quoted] == []


def test_each_message_of_the_page_is_in_the_code() -> None:
    constants = {
        to_text(node)
        for path in list_modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp)
    }
    code = "\n".join(constants)
    parts = {part.strip(" :") for quoted in list_quoted() for part in quoted.split("...")}
    assert len(parts) > FEWEST_MESSAGES
    assert [part for part in parts if part not in code] == []
