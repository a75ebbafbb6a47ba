"""Placeholders and long values of a scenario, and paths into answers. See conformance/README.md."""

import re
import uuid
from collections.abc import Mapping
from typing import Any

_PLACEHOLDER = re.compile(r"\$\{([^{}]+)\}")


class ValueMissing(Exception):
    """A placeholder or a path names nothing; the text says which."""


class Values:
    """The names of one play of a scenario.

    Args:
        users: name in the scenario -> the user's real name.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = dict(users)
        self._saved: dict[str, Any] = {}
        self._ids: dict[str, str] = {}

    def save(self, name: str, value: Any) -> None:
        """Keeps a value for `${name}`."""
        self._saved[name] = value

    def fill(self, value: Any) -> Any:
        """Returns the value with all placeholders filled in, and with $repeat and $each written out.

        Raises:
            ValueMissing: a placeholder names nothing.
        """
        if isinstance(value, str):
            return self._fill_text(value)
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if not isinstance(value, dict):
            return value
        if set(value) == {"$repeat"}:
            text, times = value["$repeat"]
            return self.fill(text) * times
        if set(value) == {"$each"} and isinstance(value["$each"], list):
            times, item = value["$each"]
            return [self._fill_numbered(item, number) for number in range(1, times + 1)]
        return {self._fill_text(key): self.fill(item) for key, item in value.items()}

    def _fill_numbered(self, item: Any, number: int) -> Any:
        self._saved["n"] = str(number)
        try:
            return self.fill(item)
        finally:
            del self._saved["n"]

    def _fill_text(self, text: str) -> Any:
        if (whole := _PLACEHOLDER.fullmatch(text)) is not None:
            return self._look_up(whole[1])
        return _PLACEHOLDER.sub(lambda found: str(self._look_up(found[1])), text)

    def _look_up(self, name: str) -> Any:
        kind, _, rest = name.partition(":")
        if kind == "direct":
            return ":".join(sorted(str(self._look_up(user)) for user in rest.split(":")))
        if kind == "id":
            return self._ids.setdefault(rest, uuid.uuid4().hex)
        base, plus, number = name.partition("+")
        if plus:
            return str(int(self._look_up(base)) + int(number))
        for known in (self._saved, self._users):
            if name in known:
                return known[name]
        raise ValueMissing(f"${{{name}}} names no user and nothing that was saved")


def value_at(answer: Any, path: str) -> Any:
    """Returns what is at a path such as `messages.0.seq`.

    Raises:
        ValueMissing: there is nothing.
    """
    value = answer
    for part in path.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError):
            raise ValueMissing(f"there is nothing at {path}") from None
    return value
