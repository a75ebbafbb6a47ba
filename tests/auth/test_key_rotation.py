"""Keys come and go in an order that keeps every token good; the file is changed as a whole and keeps its owner."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.auth.key_ring import KeysError
from service.auth.key_rotation import KeyState, add_key, list_keys, promote_key, prune_keys, rotate_keys
from service.auth.keys import ensure_keys_file, load_keys
from tests.auth.rings import private_jwk, public_jwk, secret_jwk, write_keys

NOW = 1_800_000_000
HOUR = 3600


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "keys.json"
    ensure_keys_file(made)
    return made


def states(path: Path) -> dict[str, str]:
    return {key.key_id: str(key.state) for key in list_keys(path)}


def test_added_key_verifies_signs_when_promoted_and_the_one_before_goes_on_verifying(path: Path) -> None:
    ring = load_keys(path)
    old = ring.signing_key.key_id
    new, is_first = add_key(path, clock=lambda: NOW)
    assert not is_first
    assert ring.find(new) is None  # in memory, until the file is read
    ring.refresh()
    assert ring.find(new) is not None
    assert ring.signing_key.key_id == old
    assert states(path) == {new: "waits", old: "signs"}
    assert promote_key(path, clock=lambda: NOW + 5) == new
    assert ring.signing_key.key_id == old
    ring.refresh()
    assert ring.signing_key.key_id == new
    assert ring.find(old) is not None
    retired, signing = list_keys(path)
    assert (retired.key_id, retired.state) == (old, KeyState.VERIFIES)
    assert retired.retire_time == datetime.fromtimestamp(NOW + 5, UTC)
    assert (signing.key_id, signing.state, signing.retire_time) == (new, KeyState.SIGNS, None)
    assert signing.add_time == datetime.fromtimestamp(NOW, UTC)
    assert promote_key(path, new) == new, "again changes nothing"
    assert list_keys(path) == [retired, signing]
    assert promote_key(path, old) == old, "and back"
    assert states(path) == {new: "verifies", old: "signs"}


def test_first_file_is_made_where_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "shared.json"
    with pytest.raises(KeysError, match="is not there: `parley keys add` makes it"):
        rotate_keys(path)
    with pytest.raises(KeysError, match="is not there"):
        promote_key(path)
    key_id, is_first = add_key(path)
    assert is_first
    assert load_keys(path).signing_key.key_id == key_id
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeysError, match="can't be written: No such file or directory"):
        add_key(tmp_path / "none" / "keys.json")


def test_rotated_key_signs_at_once(path: Path) -> None:
    old = load_keys(path).signing_key.key_id
    new = rotate_keys(path)
    assert states(path) == {old: "verifies", new: "signs"}
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["keys.json", "keys.json.lock"]


def test_promotion_of_what_can_not_sign_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(KeysError, match="no key waits"):
        promote_key(path)
    with pytest.raises(KeysError, match="there is no key k9"):
        promote_key(path, "k9")
    assert path.read_bytes() == before
    public = public_jwk({**private_jwk("ES256"), "kid": "k0"})
    write_keys(path, public, secret_jwk("k1"))
    with pytest.raises(KeysError, match="public"):
        promote_key(path, "k0")
    assert states(path) == {"k0": "verifies", "k1": "signs"}


def test_key_is_pruned_when_no_token_of_it_can_live(path: Path) -> None:
    old = load_keys(path).signing_key.key_id
    new, _ = add_key(path, clock=lambda: NOW)
    promote_key(path, clock=lambda: NOW)
    waiting, _ = add_key(path, clock=lambda: NOW)
    end = NOW + 900 + HOUR
    (kept,) = prune_keys(path, longest_token_seconds=900, clock=lambda: end - 1)
    assert (kept.key_id, kept.is_removed) == (old, False)
    assert kept.removable_time == datetime.fromtimestamp(end, UTC)
    assert set(states(path)) == {old, waiting, new}
    (removed,) = prune_keys(path, longest_token_seconds=900, clock=lambda: end)
    assert (removed.key_id, removed.is_removed) == (old, True)
    assert states(path) == {waiting: "waits", new: "signs"}
    assert prune_keys(path, longest_token_seconds=900, clock=lambda: end) == []


def test_key_of_which_nothing_is_known_is_counted_from_now_and_a_public_one_stays(path: Path) -> None:
    public = public_jwk({**private_jwk("ES256"), "kid": "k0"})
    write_keys(path, public, secret_jwk("k1"), secret_jwk("k2"))
    for now in (NOW, NOW + 10):
        outcomes = prune_keys(path, longest_token_seconds=900, clock=lambda now=now: now)
        assert [(one.key_id, one.is_removed) for one in outcomes] == [("k0", False), ("k1", False)]
        assert [one.removable_time for one in outcomes] == [None, datetime.fromtimestamp(NOW + 900 + HOUR, UTC)]
    prune_keys(path, longest_token_seconds=900, clock=lambda: NOW + 900 + HOUR)
    assert states(path) == {"k0": "verifies", "k2": "signs"}


@pytest.mark.parametrize("written", ["yesterday", 10**30, -5, None, [1]])
def test_time_that_is_none_is_one_that_is_not_known(path: Path, written: object) -> None:
    first = {**secret_jwk("k1"), "parley_added": written, "parley_retired": written}
    write_keys(path, first, secret_jwk("k2"))
    assert [(key.add_time, key.retire_time) for key in list_keys(path)] == [(None, None)] * 2
    (outcome,) = prune_keys(path, longest_token_seconds=900, clock=lambda: NOW)
    assert outcome.removable_time == datetime.fromtimestamp(NOW + 900 + HOUR, UTC)
    assert list_keys(path)[0].retire_time == datetime.fromtimestamp(NOW, UTC)


def test_file_keeps_what_else_is_in_it_and_stays_behind_its_link(path: Path) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "note": "ours"}))
    link = path.with_name("link.json")
    link.symlink_to(path)
    rotate_keys(link)
    assert link.is_symlink()
    assert json.loads(path.read_text())["note"] == "ours"
    assert len(list_keys(path)) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_leaves_files_to_their_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12346)
    path = tmp_path / "keys.json"
    add_key(path)
    rotate_keys(path)
    for file in (path, tmp_path / "keys.json.lock"):
        status = file.stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12345, 12346, 0o600)


def test_list_says_which_keys_are_public(path: Path) -> None:
    public = public_jwk(private_jwk("EdDSA", "k0"))
    write_keys(path, public, secret_jwk("k1"))
    assert [(row.key_id, row.is_public, str(row.state)) for row in list_keys(path)] == [
        ("k0", True, "verifies"),
        ("k1", False, "signs"),
    ]
