"""Reads the settings file: YAML whose scalars stay text, until the type of a setting converts them.

YAML 1.1 makes True of `on`, 8 of `010`, 1342 of `22:22`, and a date of `2026-01-02`. Here an empty value, `~` and
`null` are None, and all else is text. Imports no module of Parley.
"""

import re
from typing import Any

import yaml

_EXAMPLE = "listen: 127.0.0.1:50051"
_NULL = "tag:yaml.org,2002:null"
# Text of the file that PyYAML quotes, but for single characters, as in '%' or '\\t'.
_QUOTED = re.compile(r"'[^']{3,}'")
_MERGE = "tag:yaml.org,2002:merge"


class SettingsFileError(Exception):
    """The file can't be used; the text is one line that names the file."""


class _Loader(yaml.SafeLoader):
    """Keeps scalars as text, and refuses a duplicate key, of which YAML would keep the last value."""

    yaml_implicit_resolvers = {  # noqa: RUF012 # as PyYAML has it
        letter: [rule for rule in rules if rule[0] in (_NULL, _MERGE)]
        for letter, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                raise yaml.MarkedYAMLError(problem=f"{name} is there twice, in line {lines[name]} and line {line}")
            lines[name] = line
        return super().construct_mapping(node, deep)


def read_settings_file(path: str) -> dict[str, Any]:
    """Returns the tree of a settings file: dictionaries whose values are text or None, or lists, which are not checked.

    Raises:
        SettingsFileError: the file can't be read, is not YAML, or has no mapping at its top.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 # pathlib takes longer to load
            tree = yaml.load(_decode(file.read()), _Loader)  # noqa: S506 # a SafeLoader
    except OSError as error:
        raise SettingsFileError(f"can't read the configuration file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsFileError(
            f"{path} is not YAML: {error.reason} at byte {error.start}; write it in UTF-8"
        ) from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise SettingsFileError(f"{path} is not YAML: {_explain(error)}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise SettingsFileError(f"{path} must have keys and values at its top, for example {_EXAMPLE}")
    return tree


def _decode(content: bytes) -> str:
    """Decodes UTF-8, or UTF-16 where the content begins with its byte order mark; drops the mark."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    return content.decode("utf-8-sig")


def _explain(error: Exception) -> str:
    """Returns what is wrong and where, without text of the file, which may be a password."""
    text = " ".join(str(error).split())
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        told = ", ".join(part for part in (error.context, error.problem) if part)
        text = _QUOTED.sub("'...'", " ".join(told.split()))
        text += f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        if "mapping values" in text:
            text += ": put a value that has a colon and a blank into quotes"
    return f"{text}: indent with blanks, not with tabs" if r"'\t'" in text else text
