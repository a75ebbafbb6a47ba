"""Passes checked settings to a worker, as a tree of JSON values.

A worker can have a newer version than its supervisor, when the installation is upgraded while the supervisor runs.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from service.settings.tree import Secret, Settings


def to_settings(tree: Mapping[str, Any]) -> Settings:
    """Returns the settings of a tree that `to_plain` made; a setting that the tree lacks has its default."""
    return Settings(**_restore(Settings, tree))


def _restore(kind: Any, tree: Mapping[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    restored: dict[str, Any] = {}
    for name, value in tree.items():
        hint = hints[name]
        if isinstance(hint, type) and is_dataclass(hint):
            restored[name] = hint(**_restore(hint, value))
            continue
        kinds = {hint, *get_args(hint)} & {Path, Secret}
        restored[name] = kinds.pop()(value) if kinds and value is not None else value
    return restored


def to_plain(settings: Any) -> dict[str, Any]:
    """Returns the settings as JSON values, with secrets in clear: only for passing them to a worker."""

    def plain(value: Any) -> Any:
        if is_dataclass(value):
            return to_plain(value)
        if isinstance(value, Secret):
            return value.reveal()
        return str(value) if isinstance(value, Path) else value

    return {each.name: plain(getattr(settings, each.name)) for each in fields(settings)}
