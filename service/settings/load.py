"""Loads the settings: defaults < YAML file < environment < flags, with the origin of each value.

An unknown key or a bad value is a ConfigError that names the key, its origin and the allowed values.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from service.settings.file import SettingsFileError, read_settings_file
from service.settings.tree import Settings
from service.settings.validate import CHECKED
from service.settings.variables import FILE_VARIABLE, PREFIX, clean, read_variables

_NO_HOME = "there is no home directory for ~ (HOME is not set, and the user has none)"


class ConfigError(Exception):
    """The settings are wrong; the text has a line for each mistake."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One setting.

    Attributes:
        key: as in the YAML file, with dots: "database.pool_size".
        allowed: the allowed values, in words.
    """

    key: str
    description: str
    default: Any
    allowed: str
    is_secret: bool

    @property
    def variable(self) -> str:
        """The environment variable of the setting."""
        return PREFIX + self.key.replace(".", "_").upper()

    @property
    def flag(self) -> str:
        """The flag of the setting, where the command has one."""
        return "--" + self.key.replace(".", "-").replace("_", "-")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings in force; `origins` has an entry for each key that does not have its default."""

    settings: Settings
    origins: Mapping[str, str]


def load(
    flags: Mapping[str, object] | None = None,
    *,
    config_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Loaded:
    """Returns the settings of all sources.

    Args:
        flags: values by key; a value of None is a flag that was not set.
        config_file: overrides PARLEY_CONFIG.
        environment: None takes the environment of this process.

    Raises:
        ConfigError: a source has an unknown key or a bad value, or the file can't be read.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    variables = read_variables(environment)
    file = variables.pop(FILE_VARIABLE, None) if config_file is None else str(config_file)
    variables.pop(FILE_VARIABLE, None)
    if file is not None:
        for key, value in _read_file(file).items():
            values[key], origins[key] = value, f"file {file}"
    for key, value in _read_variables(variables).items():
        values[key], origins[key] = value, f"variable {LEAVES[key].variable}"
    for key, value in (flags or {}).items():
        if value is not None:
            values[key], origins[key] = clean(value) if isinstance(value, str) else value, f"flag {LEAVES[key].flag}"
    try:
        settings = Settings(**dict(CHECKED(**_nest(values))))
        return Loaded(_with_whole_paths(settings, origins), origins)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(detail, origins) for detail in error.errors())) from None


def _read_file(file: str) -> dict[str, Any]:
    try:
        tree = read_settings_file(str(Path(file).expanduser()))
    except SettingsFileError as error:
        raise ConfigError(str(error)) from None
    except RuntimeError:
        raise ConfigError(f"can't read the configuration file {file}: {_NO_HOME}") from None
    values: dict[str, Any] = {}
    for key, value in _flatten(tree):
        if key not in LEAVES:
            raise ConfigError(f"{key} (file {file}) is not a setting{_nearest(key, list(LEAVES))}")
        if key in values:
            raise ConfigError(f"{key} (file {file}) is there twice")
        if value is not None or LEAVES[key].default is None:  # nothing behind the colon: not set
            values[key] = value
    return values


def _read_variables(variables: Mapping[str, str]) -> dict[str, str]:
    known = {leaf.variable: leaf.key for leaf in LEAVES.values()}
    for name in variables:
        if name not in known:
            nearest = _nearest(name, [*known, FILE_VARIABLE])
            raise ConfigError(f"the environment variable {name} is not a setting{nearest}")
    return {known[name]: value for name, value in variables.items()}


def _with_whole_paths(settings: Any, origins: Mapping[str, str], above: str = "") -> Any:
    """Returns the settings with absolute paths, in which `~` is the home directory: the same for all processes.

    Raises:
        ConfigError: there is no home directory, or no working directory.
    """
    changed: dict[str, Any] = {}
    for each in fields(settings):
        value, key = getattr(settings, each.name), above + each.metadata.get("alias", each.name)
        if is_dataclass(value):
            changed[each.name] = _with_whole_paths(value, origins, f"{key}.")
        elif isinstance(value, Path):
            try:
                changed[each.name] = value.expanduser().absolute()
            except RuntimeError:
                raise ConfigError(f"{key} ({origins[key]}): {str(value)!r} is not allowed: {_NO_HOME}") from None
            except FileNotFoundError:
                raise ConfigError(
                    f"{key}: {value} has no place: the working directory was removed; cd to one"
                ) from None
    return replace(settings, **changed)


def _flatten(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        key = f"{above}{name}"
        if key in GROUPS and (value is None or isinstance(value, Mapping)):  # None: all lines of a group commented out
            yield from _flatten(value or {}, f"{key}.")
        else:
            yield key, value


def _nest(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        group, _, name = key.rpartition(".")
        (tree.setdefault(group, {}) if group else tree)[name] = value
    return tree


def _explain(detail: Any, origins: Mapping[str, str]) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    text = detail["msg"].removeprefix("Value error, ")
    leaf = LEAVES.get(key)
    if leaf is None:  # a rule about several keys of a group
        places = sorted({origin for other, origin in origins.items() if other.startswith(f"{key}.")})
        return f"{key} ({', '.join(places)}): {text}"
    value = "the value" if leaf.is_secret else _shorten(detail["input"])
    if detail["type"] == "value_error":
        return f"{key} ({origins[key]}): {value} is not allowed: it {text}"
    return f"{key} ({origins[key]}): {value} is not allowed; it takes {leaf.allowed}"


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else "; `parley config --example` lists all"


def _list_leaves() -> Iterator[Leaf]:
    schema = CHECKED.model_json_schema()
    for name, field in CHECKED.model_fields.items():
        if (group := _group_of(field)) is None:
            yield _to_leaf(name, field, schema["properties"][name])
            continue
        properties = schema["$defs"][group.__name__]["properties"]
        for inner_name, inner in group.model_fields.items():
            public = inner.alias or inner_name
            yield _to_leaf(f"{name}.{public}", inner, properties[public])


def _group_of(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _to_leaf(key: str, field: FieldInfo, schema: Mapping[str, Any]) -> Leaf:
    shape = next((option for option in schema.get("anyOf", []) if option.get("type") != "null"), schema)
    is_secret = shape.get("format") == "password"
    return Leaf(key, field.description or "", field.default, _allowed(shape), is_secret)


def _allowed(shape: Mapping[str, Any]) -> str:
    if "enum" in shape:
        return "one of " + ", ".join(shape["enum"])
    if shape["type"] == "boolean":
        return "true or false"
    if shape["type"] in {"integer", "number"}:
        kind = "a whole number" if shape["type"] == "integer" else "a number"
        low = f"above {shape['exclusiveMinimum']:g}" if "exclusiveMinimum" in shape else f"from {shape['minimum']}"
        return f"{kind} {low}" + (f" to {shape['maximum']:.12g}" if "maximum" in shape else "")
    if "pattern" in shape:
        return f"text like {shape['pattern']}"
    return {"path": "a path", "password": "a URL"}.get(shape.get("format", ""), "text")


LEAVES: Mapping[str, Leaf] = {leaf.key: leaf for leaf in _list_leaves()}
GROUPS: Mapping[str, str] = {
    name: group.__doc__ or "" for name, field in CHECKED.model_fields.items() if (group := _group_of(field))
}


def value_of(settings: Settings, key: str) -> Any:
    """Returns the value of a setting by its key."""
    value: Any = settings
    for part in key.split("."):
        names = {field.metadata.get("alias", field.name): field.name for field in fields(value)}
        value = getattr(value, names[part])
    return value
