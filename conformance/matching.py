"""Compares what came with what a scenario expects: a part of it, in the way that conformance/README.md says."""

import re
from collections.abc import Iterator
from typing import Any

_EMPTY: tuple[Any, ...] = (None, "", 0, "0", False, [], {})


def differences(expected: Any, actual: Any, where: str = "") -> Iterator[str]:
    """Returns a line for each difference; none when what came is what was expected.

    Args:
        expected: with placeholders filled in.
        actual: in the form that `messages.py` makes.
        where: the path so far.
    """
    if expected == "$any":
        if _is_empty(actual):
            yield f"{where}: is not set"
    elif expected == "$none":
        if not _is_empty(actual):
            yield f"{where}: is {_short(actual)}, and should not be set"
    elif isinstance(expected, dict) and len(expected) == 1 and next(iter(expected)).startswith("$"):
        yield from _rule(*next(iter(expected.items())), actual, where)
    elif isinstance(expected, dict):
        yield from _mapping(expected, actual, where)
    elif isinstance(expected, list):
        yield from _sequence(expected, actual, where)
    elif not _is_same(expected, actual):
        yield f"{where}: is {_short(actual)}, not {_short(expected)}"


def _mapping(expected: dict[str, Any], actual: Any, where: str) -> Iterator[str]:
    if not isinstance(actual, dict):
        yield f"{where}: is {_short(actual)}, not {_short(expected)}"
        return
    for key, item in expected.items():
        path = f"{where}.{key}" if where else key
        yield from differences(item, actual.get(key), path)


def _sequence(expected: list[Any], actual: Any, where: str) -> Iterator[str]:
    if not isinstance(actual, list) or len(actual) != len(expected):
        yield f"{where}: is {_short(actual)}, not {_short(expected)}"
        return
    for number, (item, found) in enumerate(zip(expected, actual, strict=True)):
        yield from differences(item, found, f"{where}.{number}")


def _rule(name: str, argument: Any, actual: Any, where: str) -> Iterator[str]:
    if name == "$match":
        if not isinstance(actual, str) or re.search(argument, actual) is None:
            yield f"{where}: is {_short(actual)}, which {argument!r} does not match"
    elif name == "$least":
        if actual is None or int(actual) < int(argument):
            yield f"{where}: is {_short(actual)}, below {argument}"
    elif name == "$count":
        if not isinstance(actual, list) or len(actual) != argument:
            yield f"{where}: has {len(actual) if isinstance(actual, list) else 0} elements, not {argument}"
    elif name == "$contains":
        for item in argument:
            if not any(not list(differences(item, found)) for found in actual or ()):
                yield f"{where}: {_short(item)} is not in {_short(actual)}"
    else:
        raise ValueError(f"{where}: there is no rule {name}")


def _is_empty(value: Any) -> bool:
    return any(value == empty and type(value) is type(empty) for empty in _EMPTY)


def _is_same(expected: Any, actual: Any) -> bool:
    if isinstance(expected, bool) or isinstance(actual, bool):
        return bool(expected) == actual if isinstance(actual, bool) else not expected and _is_empty(actual)
    return str(expected) == str(actual)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:120]} ... ({len(text)} characters)"
