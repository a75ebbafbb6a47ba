"""Changes the signing keys, in an order in which every node accepts every token.

`add_key` adds a key that only verifies, `promote_key` lets that key sign, and `prune_keys` removes keys whose tokens
have all expired. Between two of these steps the operator copies the file to all nodes. `rotate_keys` is the first two
steps at once, for one machine.

The file has the times at which a key was added and stopped signing, as members of the JWK that other readers ignore
(RFC 7517 section 4).
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from service.auth.key_ring import KeysError, to_keys
from service.auth.keys import new_secret, read_keys_file
from service.auth.keys_file import locked, write
from service.domain.times import to_time

_ADDED = "parley_added"  # Unix seconds
_RETIRED = "parley_retired"  # when it stopped signing, Unix seconds
# Other nodes get the file later than the node on which it was changed.
_SPARE_SECONDS = 3600
_END_OF_TIME = 250_000_000_000  # in the year 9892; no calendar of ours goes beyond 9999


class KeyState(StrEnum):
    """What a key does."""

    SIGNS = "signs"
    WAITS = "waits"  # was added, and was not promoted yet
    VERIFIES = "verifies"  # signed earlier; or a public key, whose private key signs elsewhere


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key in a list, without its secret.

    Attributes:
        add_time: None where the file does not have it, as for a key that was put into the file by hand.
        retire_time: when the key stopped signing; None where it did not, or where the file does not have the time.
    """

    key_id: str
    algorithm: str
    state: KeyState
    is_public: bool
    add_time: datetime | None
    retire_time: datetime | None


@dataclass(frozen=True, slots=True)
class Pruned:
    """A key that does not sign any more, after `prune_keys`; `removable_time` is None for a public key, which stays."""

    key_id: str
    is_removed: bool
    removable_time: datetime | None


def list_keys(path: Path) -> list[KeyRow]:
    """Returns the keys in the order of the file; the last one signs.

    Raises:
        KeysError: the file can't be used.
    """
    document = _read(path)
    entries = document["keys"]
    return [
        KeyRow(
            key.key_id,
            key.algorithm,
            _state_of(entry, is_last=entry is entries[-1]),
            key.signing is None,
            _time_of(entry, _ADDED),
            _time_of(entry, _RETIRED),
        )
        for entry, key in zip(entries, to_keys(document), strict=True)
    ]


def add_key(path: Path, *, clock: Callable[[], float] = time.time) -> tuple[str, bool]:
    """Adds a new HS256 key that verifies and does not sign yet; creates the file where there is none.

    Returns:
        The id of the key, and whether the key is the first one, which signs.

    Raises:
        KeysError: the file is not usable as it is, or can't be written.
    """
    with locked(path) as file:
        document = _read(file) if file.exists() else {"keys": []}
        secret, others = new_secret(), document["keys"]
        added = {**secret, _ADDED: int(clock())}
        write(file, {**document, "keys": [*others[:-1], added, *others[-1:]]})
        return secret["kid"], not others


def promote_key(path: Path, key_id: str | None = None, *, clock: Callable[[], float] = time.time) -> str:
    """Makes a key sign from now on, and returns its id; idempotent. The key that signed before goes on verifying.

    Args:
        key_id: None takes the waiting key that was added last.

    Raises:
        KeysError: there is no such key, no key waits, or the file can't be used or written.
    """
    with locked(path) as file:
        document = _read(file)
        document["keys"] = _promoted(document["keys"], key_id, int(clock()))
        write(file, document)
        return str(document["keys"][-1]["kid"])


def rotate_keys(path: Path) -> str:
    """Adds a key that signs at once and returns its id; right where only one machine has the keys.

    Raises:
        KeysError: there is no file, or the file can't be used or written.
    """
    _read(path)
    key_id, _ = add_key(path)
    return promote_key(path, key_id)


def prune_keys(path: Path, *, longest_token_seconds: float, clock: Callable[[], float] = time.time) -> list[Pruned]:
    """Removes keys that stopped signing so long ago that all their tokens have expired.

    A key whose time the file does not have counts as one that stops signing now, and stays.

    Args:
        longest_token_seconds: the longest life of any token that was made.

    Returns:
        The keys that do not sign any more, removed or not.

    Raises:
        KeysError: the file can't be used or written.
    """
    now = clock()
    with locked(path) as file:
        document = _read(file)
        entries, pruned = [], []
        for entry, key in zip(document["keys"], to_keys(document), strict=True):
            if _state_of(entry, is_last=entry is document["keys"][-1]) is not KeyState.VERIFIES:
                entries.append(entry)
            elif key.signing is None:
                entries.append(entry)
                pruned.append(Pruned(key.key_id, False, None))
            else:
                retired = _seconds_of(entry, _RETIRED)
                retired = int(now) if retired is None else retired
                removable = retired + longest_token_seconds + _SPARE_SECONDS
                pruned.append(Pruned(key.key_id, removable <= now, to_time(removable)))
                if removable > now:
                    entries.append({**entry, _RETIRED: retired})
        if entries != document["keys"]:
            write(file, {**document, "keys": entries})
    return pruned


def _promoted(entries: list[dict[str, Any]], key_id: str | None, now: int) -> list[dict[str, Any]]:
    *others, signing = entries
    if key_id is None:
        waiting = [entry["kid"] for entry in others if _state_of(entry, is_last=False) is KeyState.WAITS]
        if not waiting:
            raise KeysError("no key waits to be promoted: `parley keys add` adds one")
        key_id = waiting[-1]
    if signing["kid"] == key_id:
        return entries
    chosen = next((entry for entry in others if entry["kid"] == key_id), None)
    if chosen is None:
        raise KeysError(f"there is no key {key_id} in the file: `parley keys list` shows them")
    rest = [entry for entry in others if entry is not chosen]
    promoted = {name: value for name, value in chosen.items() if name != _RETIRED}
    changed = [*rest, {**signing, _RETIRED: now}, promoted]
    to_keys({"keys": changed})  # refuses a public key in the last place
    return changed


def _read(path: Path) -> dict[str, Any]:
    """Returns the whole document, after the checks that a server makes."""
    read_keys_file(path)
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


def _state_of(entry: dict[str, Any], *, is_last: bool) -> KeyState:
    if is_last:
        return KeyState.SIGNS
    return KeyState.WAITS if _ADDED in entry and _RETIRED not in entry else KeyState.VERIFIES


def _time_of(entry: dict[str, Any], name: str) -> datetime | None:
    seconds = _seconds_of(entry, name)
    return None if seconds is None else to_time(seconds)


def _seconds_of(entry: dict[str, Any], name: str) -> int | None:
    """Returns the time that the file has for a key; None where there is none, or where the value is not a time."""
    seconds = entry.get(name)
    return seconds if isinstance(seconds, int) and 0 <= seconds < _END_OF_TIME else None
