"""Between proto3's JSON and what betterproto reads and writes, which names enum values without their prefix."""

import re
from collections.abc import Callable
from typing import Any

import betterproto

_Rename = Callable[[str, str], str]


def to_message(kind: type[betterproto.Message], content: dict[str, Any]) -> Any:
    """Reads a message."""
    return kind().from_dict(_renamed(kind, content, lambda name, prefix: name.removeprefix(prefix)))


def to_json(message: betterproto.Message) -> dict[str, Any]:
    """Writes a message."""
    return _renamed(type(message), message.to_dict(), lambda name, prefix: f"{prefix}{name}")


def _renamed(kind: type[betterproto.Message], content: dict[str, Any], rename: _Rename) -> dict[str, Any]:
    """Gives the content with each enum value's name as `rename(name, prefix)` says."""
    kinds = kind()._betterproto.cls_by_field  # the library's own table of what fields hold
    result = {}
    for key, value in content.items():
        held = kinds.get(betterproto.casing.snake_case(key))
        if isinstance(held, type) and issubclass(held, betterproto.Message):
            if isinstance(value, list):
                value = [_renamed(held, item, rename) for item in value]
            elif isinstance(value, dict):
                value = _renamed(held, value, rename)
        elif isinstance(held, type) and issubclass(held, betterproto.Enum) and isinstance(value, str):
            value = rename(value, _prefix(held))
        result[key] = value
    return result


def _prefix(kind: type[betterproto.Enum]) -> str:
    """What the generator took from the names: it leaves those of enums alone that stand in a message."""
    if not hasattr(kind, "UNSPECIFIED"):
        return ""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).upper() + "_"
