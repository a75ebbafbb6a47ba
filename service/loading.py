"""Fills the Settings tree: defaults < YAML file < environment < flags, and remembers where each value came from.

An unknown key or a bad value is a ConfigError whose text names the key, its origin and what is allowed.
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, YamlConfigSettingsSource

from service.checked_settings import CHECKED, SOURCES
from service.config import Settings
from service.distribution import COMMIT_VARIABLE

PREFIX = "PARLEY_"
FILE_VARIABLE = "PARLEY_CONFIG"

# Switches of tests, which workers read (service/failpoints.py).
_TEST_SWITCH = re.compile(r"PARLEY_FAILPOINTS(_CONSENT)?")

# Kubernetes puts these into every container beside a Service that is named "parley".
_SERVICE_LINK = re.compile(r"PARLEY_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP).*)?)")


class ConfigError(Exception):
    """The settings are wrong; the text has a line for each thing that is."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One setting.

    Attributes:
        key: as the YAML file has it, with dots: "database.pool_size".
        allowed: what values it takes, in words.
    """

    key: str
    description: str
    default: Any
    allowed: str
    is_secret: bool

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.key.replace(".", "_").upper()

    @property
    def flag(self) -> str:
        """The flag that sets it, where the command has one."""
        return "--" + self.key.replace(".", "-").replace("_", "-")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings in force; `origins` has an entry for each key that is not the default."""

    settings: Settings
    origins: Mapping[str, str]


def load(
    flags: Mapping[str, object] | None = None,
    *,
    config_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Loaded:
    """Reads all sources.

    Args:
        flags: values by key; None values are flags that were not given.
        config_file: overrides PARLEY_CONFIG.
        environment: the process's own where it is None.

    Raises:
        ConfigError: something in them is wrong.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    path = config_file or (Path(environment[FILE_VARIABLE]) if environment.get(FILE_VARIABLE) else None)
    if path is not None:
        for key, value in _read_file(path).items():
            values[key], origins[key] = value, f"file {path}"
    for key, value in _read_environment(environment).items():
        values[key], origins[key] = value, f"variable {LEAVES[key].variable}"
    for key, value in (flags or {}).items():
        if value is not None:
            values[key], origins[key] = value, f"flag {LEAVES[key].flag}"
    try:
        return Loaded(Settings(**dict(CHECKED(**_nest(values)))), origins)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(detail, origins) for detail in error.errors())) from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb"):  # the source below takes a missing file for an empty one
            pass
        tree = YamlConfigSettingsSource(SOURCES, yaml_file=path)()
    except OSError as error:
        raise ConfigError(f"can't read the configuration file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    except (AttributeError, TypeError, ValueError):
        raise ConfigError(f"{path} must have keys and values at its top, for example listen: 127.0.0.1:50051") from None
    values = {}
    for key, value in _flatten(tree):
        if key not in LEAVES:
            raise ConfigError(f"{key} (file {path}) is not a setting{_nearest(key, list(LEAVES))}")
        values[key] = value
    return values


def _read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    known = {leaf.variable: leaf.key for leaf in LEAVES.values()}
    for name in environment:
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in (FILE_VARIABLE, COMMIT_VARIABLE):
            continue
        if _SERVICE_LINK.fullmatch(upper) or _TEST_SWITCH.fullmatch(upper):
            continue
        if upper not in known:
            nearest = _nearest(upper, [*known, FILE_VARIABLE])
            raise ConfigError(f"the environment variable {name} is not a setting{nearest}")
    source = EnvSettingsSource(
        SOURCES,
        env_prefix=PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_ignore_empty=True,  # `PARLEY_REDIS_URL=` in a compose file means: not set
    )
    source.env_vars = {name.lower(): value for name, value in environment.items() if value != ""}
    return dict(_flatten(source()))


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
