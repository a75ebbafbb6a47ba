"""Prints the settings: those in force with their origins, and the commented example. Both are valid settings files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service.settings.load import GROUPS, LEAVES, Leaf, Loaded, value_of
from service.settings.tree import Secret
from storage.urls import mask_url


def in_force(loaded: Loaded) -> str:
    """Returns every setting with its value and origin; secrets are masked."""

    def line(leaf: Leaf, name: str) -> str:
        value = _to_yaml(value_of(loaded.settings, leaf.key))
        return f"{name}: {value}  # {loaded.origins.get(leaf.key, 'default')}"

    return _by_group(line, lambda _: [])


def example() -> str:
    """Returns every setting with its default, its description and its variable."""

    def line(leaf: Leaf, name: str) -> str:
        default = _to_yaml(leaf.default)
        comment = f"# {leaf.description} ({leaf.allowed}; {leaf.variable})"
        return f"{comment}\n{name}: {default}"

    head = "# Parley's settings with their defaults. Name this file in PARLEY_CONFIG, or give it as --config.\n"
    head += "# Environment variables override it, flags override both.\n\n"
    return head + _by_group(line, lambda group: [f"# {GROUPS[group]}"])


def _by_group(line: Callable[[Leaf, str], str], heading: Callable[[str], list[str]]) -> str:
    lines = []
    last_group = ""
    for leaf in LEAVES.values():
        group, _, name = leaf.key.rpartition(".")
        if group and group != last_group:
            lines += [*heading(group), f"{group}:"]
            last_group = group
        indent = "  " if group else ""
        lines += [indent + part for part in line(leaf, name).split("\n")]
    return "\n".join(lines) + "\n"


def _to_yaml(value: Any) -> str:
    match value:
        case Secret():
            return json.dumps(mask_url(value.reveal()))
        case Path():
            return json.dumps(str(value), ensure_ascii=False)
        case _:
            return json.dumps(value, ensure_ascii=False)  # a JSON scalar is a YAML scalar
