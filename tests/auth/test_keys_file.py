"""The file of the keys is replaced as a whole, and stays as private as it was."""

import json
import os
from pathlib import Path

import pytest

from service.auth.key_ring import KeysError
from service.auth.keys_file import locked, write


def test_new_file_has_the_content_and_the_mode_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write(path, {"keys": [1]})
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    write(path, {"keys": [2]})
    assert path.stat().st_mode & 0o777 == 0o640
    assert json.loads(path.read_bytes()) == {"keys": [2]}
    assert list(tmp_path.iterdir()) == [path]


def test_file_that_can_not_be_replaced_stays_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    (path / "full").mkdir(parents=True)
    with pytest.raises(OSError, match=r"keys\.json"):
        write(path, {"keys": []})
    assert list(tmp_path.iterdir()) == [path]


def test_file_of_another_user_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.json"
    write(path, {"keys": [1]})
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(KeysError, match=f"belongs to user {owner}: change it as that user, or as root"):
        write(path, {"keys": [2]})
    assert json.loads(path.read_bytes()) == {"keys": [1]}


def test_nothing_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"

    def change() -> None:
        with locked(path) as file:
            write(file, {"keys": []})

    change()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        change()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
