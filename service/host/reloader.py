"""Reads the settings anew for a server that runs (SIGHUP), from the inside; `reloading.py` says what comes of it."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from service import logs
from service.host.reloading import RELOADABLE, Reloaded
from service.host.tls_check import check_transport
from service.settings.handoff import to_plain, to_settings
from service.settings.host_port import split_listen
from service.settings.load import LEAVES, load, value_of
from service.settings.stop_times import find_stop_seconds
from service.settings.tree import Settings

_FILES = frozenset({"tls.certificate_file", "tls.key_file"})


def answer(flags: Mapping[str, object], config_file: Path | None) -> None:
    """Reads the settings in force from standard input, and writes what becomes of them.

    Raises:
        ConfigError: the settings are wrong.
        StartError: the certificate can't be used.
    """
    in_force = to_settings(json.loads(sys.stdin.buffer.read()))
    found = load(flags, config_file=config_file).settings
    logs.configure("error", "json", process="reload")  # what is worth a warning was said at the start
    check_transport(found)
    differ = [key for key in LEAVES if _differs(key, in_force, found)]
    taken = [key for key in differ if _is_taken(key, in_force, found)]
    merged = _merge(in_force, found, taken)
    reloaded = Reloaded(
        settings=json.dumps(to_plain(merged)),
        changed=taken,
        restart=[key for key in differ if key not in taken],
        log_level=merged.log.level,
        stop_seconds=find_stop_seconds(merged.shutdown, merged.listen),
    )
    sys.stdout.write(json.dumps(asdict(reloaded)))


def _differs(key: str, in_force: Settings, found: Settings) -> bool:
    """Returns whether a setting changed; what was left open and filled in at the start did not."""
    value = value_of(found, key)
    if value is None and key in ("database.url", "redis.url", "auth.keys_file"):
        return False
    if key in ("listen", "metrics.listen") and value and split_listen(value)[1] == 0:
        return False
    return bool(value != value_of(in_force, key))


def _is_taken(key: str, in_force: Settings, found: Settings) -> bool:
    has_tls = [settings.tls.certificate_file is not None for settings in (in_force, found)]
    return key in RELOADABLE and (key not in _FILES or all(has_tls))


def _merge(in_force: Any, found: Any, keys: list[str], above: str = "") -> Any:
    """Returns the tree in force with the values of these keys from the other."""
    changed: dict[str, Any] = {}
    for each in fields(in_force):
        name = each.metadata.get("alias", each.name)
        before, now = getattr(in_force, each.name), getattr(found, each.name)
        if is_dataclass(before):
            changed[each.name] = _merge(before, now, keys, f"{above}{name}.")
        elif f"{above}{name}" in keys:
            changed[each.name] = now
    return replace(in_force, **changed)
