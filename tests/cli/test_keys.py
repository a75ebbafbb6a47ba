"""`parley keys ...`: what each command prints, and how it refuses. What becomes of the file is in tests/auth."""

import json
from pathlib import Path

import pytest

from service.auth.key_rotation import add_key
from service.auth.keys import load_keys
from tests.support.commands import command


def keys(path: Path, *arguments: str, status: int = 0, **settings: str) -> str:
    """Runs a command on a file; gives its output, or its one line of refusal."""
    done = command("keys", *arguments, PARLEY_AUTH_KEYS_FILE=str(path), **settings)
    assert done.exit_code == status, done.output
    if status == 1:
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        return line
    return done.stdout


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_keys_are_made_added_promoted_listed_and_pruned(path: Path) -> None:
    made = json.loads(keys(path, "add", "--json"))
    first = made["key_id"]
    assert made == {"key_id": first, "result": "made", "file": str(path)}
    added = keys(path, "add")
    second = added.split()[0]
    assert added == (
        f"{second} verifies from now on ({path}); when all nodes have it, `parley keys promote` lets it sign\n"
    )
    assert load_keys(path).signing_key.key_id == first
    assert keys(path, "promote") == f"{second} signs from now on ({path})\n"
    lines = [line.split("\t") for line in keys(path, "list").splitlines()]
    assert lines[0] == ["KEY", "ALGORITHM", "STATE", "ADDED", "RETIRED"]
    assert [line[:3] for line in lines[1:]] == [[first, "HS256", "verifies"], [second, "HS256", "signs"]]
    listed = [json.loads(line) for line in keys(path, "list", "--json").splitlines()]
    assert set(listed[0]) == {"key_id", "algorithm", "state", "is_public", "add_time", "retire_time"}
    assert not any(json.loads(path.read_text())["keys"][nth]["k"] in keys(path, "list", "--json") for nth in (0, 1))
    assert keys(path, "prune").startswith(f"kept {first}: its last tokens end at 20")
    old = json.loads(path.read_text())
    old["keys"][0]["parley_retired"] -= 900 + 3600
    path.write_text(json.dumps(old))
    assert keys(path, "prune", "--longest-token", "900") == f"removed {first}\n"
    assert keys(path, "prune") == "there is no key that stopped signing\n"


def test_rotated_key_signs_and_what_was_signed_before_is_still_verified(path: Path) -> None:
    before, _ = add_key(path)
    said = keys(path, "rotate")
    after = load_keys(path)
    assert said == f"{after.signing_key.key_id} signs from now on ({path})\n"
    assert after.signing_key.key_id != before
    assert after.find(before) is not None


@pytest.mark.parametrize("verb", ["list", "promote", "rotate", "prune"])
def test_missing_file_is_one_line_that_says_how_it_is_made(path: Path, verb: str) -> None:
    assert keys(path, verb, status=1) == f"parley: the keys file {path} is not there: `parley keys add` makes it"
    assert not path.exists()


def test_life_of_the_longest_token_can_not_be_shorter_than_that_of_a_login(path: Path) -> None:
    add_key(path)
    line = keys(path, "prune", "--longest-token", "899", status=1)
    assert line == "parley: --longest-token takes 900 (auth.access_token_seconds) to 31622400 seconds"
    assert keys(path, "prune", "--longest-token", "many", status=2) == ""


def test_own_file_that_others_can_read_is_taken_from_them(path: Path) -> None:
    add_key(path)
    path.chmod(0o644)
    keys(path, "list")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("verb", ["list", "add", "promote", "rotate", "prune"])
def test_file_that_is_none_is_refused_and_left(path: Path, verb: str) -> None:
    add_key(path)
    path.write_text("nonsense")
    assert "is not JSON" in keys(path, verb, status=1)
    assert path.read_text() == "nonsense"
