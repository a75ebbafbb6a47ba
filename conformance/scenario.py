"""Reads `scenarios/*.yaml`, and refuses a step that has unknown keys. `play.py` plays the scenarios."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "scenarios"

# The key that says what a step does -> the keys that may stand beside it.
_STEPS: Mapping[str, frozenset[str]] = {
    "call": frozenset({"as", "server", "request", "deadline_ms", "cancel_after_ms", "expect", "error", "save"}),
    "open": frozenset({"stream", "as", "server", "request"}),
    "write": frozenset({"stream"}),
    "write_newer": frozenset({"stream"}),
    "receive": frozenset({"stream", "within_ms", "save", "frames"}),
    "silence": frozenset({"stream", "within_ms"}),
    "end": frozenset({"stream"}),
    "close": frozenset({"stream"}),
    "cancel": frozenset({"stream"}),
    "page": frozenset({"as", "server", "seqs", "next_cursor", "error"}),
    "session_open": frozenset({"session", "server", "password", "device_id", "heartbeat_ms", "error"}),
    "session_send": frozenset({"session", "ticket"}),
    "session_sent": frozenset({"session", "ticket", "error", "within_ms"}),
    "session_next": frozenset({"session", "within_ms"}),
    "session_ack": frozenset({"session"}),
    "session_end": frozenset({"session", "within_ms"}),
    "session_close": frozenset({"session"}),
    "operator": frozenset(
        {
            *("user", "save", "conversation_id", "seq", "seconds", "scope", "server", "method", "code"),
            *("access_token_seconds", "serving_on_seconds", "own_data"),
        }
    ),
}


class ScenarioError(Exception):
    """A scenario file says something that no step has; the text names the file and the step."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        number: from 1.
        kind: the key that says what it does.
        subject: that key's value.
        options: the keys beside it.
    """

    number: int
    kind: str
    subject: Any
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One file.

    Attributes:
        name: the file's, without its ending.
        about: a line that says what it shows.
        users: names of the users who are there before.
        steps: in order.
    """

    name: str
    about: str
    users: Sequence[str]
    steps: Sequence[Step]

    def uses(self, server: str) -> bool:
        """Whether a step names this server."""
        return any(step.options.get("server") == server for step in self.steps)

    @property
    def needs_session(self) -> bool:
        """Whether a step drives the session that people copy."""
        return any(step.kind == "session_open" for step in self.steps)


def load_scenarios(folder: Path = FOLDER) -> list[Scenario]:
    """Reads all scenarios, by name.

    Raises:
        ScenarioError: a file is none, or there is no file.
    """
    scenarios = [_load(path) for path in sorted(folder.glob("*.yaml"))]
    if not scenarios:
        raise ScenarioError(f"no scenarios in {folder}")
    return scenarios


def _load(path: Path) -> Scenario:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or set(content) - {"about", "users", "steps"} or not content.get("steps"):
        raise ScenarioError(f"{path.name}: a scenario has about, users and steps")
    steps = [_to_step(path.name, number, item) for number, item in enumerate(content["steps"], start=1)]
    return Scenario(path.stem, str(content["about"]), tuple(content.get("users", ())), tuple(steps))


def _to_step(file_name: str, number: int, item: Any) -> Step:
    kinds = [key for key in item if key in _STEPS] if isinstance(item, dict) else []
    if len(kinds) != 1:
        raise ScenarioError(f"{file_name}, step {number}: says {kinds or 'nothing'} of {', '.join(_STEPS)}")
    kind = kinds[0]
    options = {key: value for key, value in item.items() if key != kind}
    if unknown := set(options) - _STEPS[kind]:
        raise ScenarioError(f"{file_name}, step {number}: {kind} has no {', '.join(sorted(unknown))}")
    if kind in ("call", "page") and "error" in options and {"expect", "seqs", "next_cursor"} & set(options):
        raise ScenarioError(f"{file_name}, step {number}: {kind} can't end in both ways")
    return Step(number, kind, item[kind], options)
