"""What the contract states of the length of ids, names and titles is what the server takes: each statement is tried."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.auth import fields
from service.convert.conversations import from_title
from service.domain import checks
from service.domain.errors import InvalidRequest

PROTO = Path(__file__).parents[2] / "proto" / "parley" / "v1"
_STATEMENT = re.compile(r"(?:(\d+) to |[Uu]p to )([\d,]+) (bytes|printable ASCII characters)")
_FIELD = re.compile(r"(?P<comment>(?:^ *//[^\n]*\n)+) *(?:optional )?string (?P<name>\w+) = \d+", re.MULTILINE)
CHECKS: dict[str, Callable[[str], str]] = {
    "device_id": checks.to_device_id,
    "request_id": checks.to_request_id,
    "display_name": fields.to_display_name,
    "avatar_uri": fields.to_avatar_uri,
    "password": fields.to_new_password,
    "new_password": fields.to_new_password,
    "title": from_title,
}


@dataclass(frozen=True, slots=True)
class Stated:
    """A statement about a field."""

    where: str
    name: str
    least: int
    most: int
    is_ascii: bool


def list_statements() -> list[Stated]:
    """Reads the contract's comments."""
    found = []
    for path in sorted(PROTO.glob("*.proto")):
        for field in _FIELD.finditer(path.read_text()):
            comment = " ".join(re.sub(r"^ *// ?", "", line) for line in field["comment"].splitlines())
            if field["name"] in CHECKS and (said := _STATEMENT.search(comment)):
                where = f"{path.name}:{path.read_text()[: field.end()].count(chr(10)) + 1}"
                most = int(said[2].replace(",", ""))
                found.append(Stated(where, field["name"], int(said[1] or 0), most, "ASCII" in said[3]))
    return found


STATEMENTS = list_statements()


def is_taken(name: str, value: str) -> bool:
    """Whether the server takes a value, and as it is."""
    try:
        return CHECKS[name](value) == value
    except InvalidRequest:
        return False


def of_length(name: str, size: int) -> str:
    """A value of so many bytes."""
    return ("https://h/" if name == "avatar_uri" else "").ljust(size, "x")[:size]


def test_statements_are_found() -> None:
    assert {each.name for each in STATEMENTS} == set(CHECKS)
    assert len(STATEMENTS) >= 14


@pytest.mark.parametrize("stated", STATEMENTS, ids=lambda each: f"{each.where} {each.name}")
def test_what_is_stated_is_taken_and_no_more(stated: Stated) -> None:
    assert is_taken(stated.name, of_length(stated.name, stated.most))
    assert not is_taken(stated.name, of_length(stated.name, stated.most + 1))
    assert is_taken(stated.name, of_length(stated.name, stated.least))
    if stated.least:
        assert not is_taken(stated.name, of_length(stated.name, stated.least - 1))
    if stated.is_ascii:
        assert all(is_taken(stated.name, f"a{chr(code)}b") for code in range(32, 127))
        assert not any(is_taken(stated.name, f"a{letter}b") for letter in ("\n", "\x7f", "\0", "é"))
