import base64
import fcntl
import json
import multiprocessing
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.auth.key_ring import KeysError, to_keys
from service.auth.key_rotation import add_key
from service.auth.keys import ensure_keys_file, load_keys
from tests.auth.rings import private_jwk, public_jwk, ring, secret_jwk, write_keys

SECRET = secret_jwk()


def test_made_file_is_private_and_has_one_key_of_256_bits(tmp_path: Path) -> None:
    path = tmp_path / "made" / "keys.json"
    assert ensure_keys_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    (jwk,) = json.loads(path.read_text())["keys"]
    assert (jwk["kty"], jwk["alg"]) == ("oct", "HS256")
    assert len(base64.urlsafe_b64decode(jwk["k"] + "=")) == 32
    assert load_keys(path).signing_key.key_id == jwk["kid"]


def test_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ensure_keys_file(path)
    before = path.read_bytes()
    assert not ensure_keys_file(path)
    assert path.read_bytes() == before


def test_racing_processes_make_one_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert sum(pool.map(ensure_keys_file, [path] * 6)) == 1
    assert len(json.loads(path.read_text())["keys"]) == 1


def test_who_waits_for_another_one_finds_the_other_ones_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.json"
    ensure_keys_file(path)
    path.unlink()
    waits = threading.Event()
    flock = fcntl.flock

    def flock_and_tell(descriptor: int, operation: int) -> None:
        waits.set()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_and_tell)
    with path.with_name("keys.json.lock").open() as lock, ThreadPoolExecutor(1) as other:
        flock(lock, fcntl.LOCK_EX)
        made = other.submit(ensure_keys_file, path)
        assert waits.wait(10)
        assert not path.exists()
        write_keys(path, SECRET)
        flock(lock, fcntl.LOCK_UN)
        assert made.result(10) is False
    assert load_keys(path).signing_key.key_id == SECRET["kid"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_own_file_that_others_can_read_is_taken_from_them(tmp_path: Path, mode: int) -> None:
    path = write_keys(tmp_path / "keys.json", SECRET, mode=mode)
    assert load_keys(path).signing_key.key_id == "k1"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_file_of_another_user_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    path = write_keys(tmp_path / "keys.json", SECRET, mode=mode)
    os.chown(path, 12345, 0)
    with pytest.raises(KeysError, match=rf"mode {mode:04o}\) and belongs to another user \(id 12345\): chmod 600 it"):
        load_keys(path)
    with pytest.raises(KeysError):
        add_key(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JWK set"),
        (b'{"keys": []}', "not a JWK set"),
        (b'{"keys": {}}', "not a JWK set"),
    ],
)
def test_file_that_is_no_set_of_keys_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeysError, match=why):
        load_keys(path)


def test_pipe_is_refused_where_reading_it_would_wait_for_ever(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "keys.json")
    with pytest.raises(KeysError, match=r"keys\.json is no regular file"):
        load_keys(tmp_path / "keys.json")


def test_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match=r"keys\.json is not there: `parley keys add` makes it"):
        load_keys(tmp_path / "keys.json")


EC, RSA = private_jwk("ES256"), private_jwk("RS256")


@pytest.mark.parametrize(
    ("jwk", "why"),
    [
        ("text", "not an object"),
        ({**SECRET, "kid": ""}, "kid"),
        ({**SECRET, "kid": "a/b"}, "kid"),
        ({**SECRET, "kid": "k" * 65}, "kid"),
        ({**SECRET, "kid": 7}, "kid"),
        ({name: value for name, value in SECRET.items() if name != "alg"}, "alg"),
        ({**SECRET, "alg": "none"}, "alg"),
        ({**SECRET, "alg": "HS512"}, "alg"),
        ({**SECRET, "alg": []}, "alg"),
        ({**SECRET, "alg": "ES256"}, "kty"),
        ({**EC, "alg": "HS256"}, "kty"),
        ({**EC, "crv": "P-384"}, "kty"),
        ({**SECRET, "use": "enc"}, "use"),
        (secret_jwk(size_bytes=31), "at least 32 bytes"),
        ({**SECRET, "k": 5}, "not a good HS256 key"),
        ({**EC, "x": "AAAA"}, "not a good ES256 key"),
        ({**RSA, "n": "!"}, "not a good RS256 key"),
    ],
)
def test_key_that_can_not_be_used_is_refused_and_not_shown(jwk: object, why: str) -> None:
    with pytest.raises(KeysError, match=why) as refusal:
        to_keys({"keys": [jwk]})
    assert str(SECRET["k"]) not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(("bits", "is_good"), [(1024, False), (2047, False), (2048, True)])
def test_rsa_key_has_2048_bits_or_more(bits: int, is_good: bool) -> None:
    jwk = {**private_jwk("RS256", bits=bits), "kid": "r1"}
    if is_good:
        assert to_keys({"keys": [jwk]})[0].key_id == "r1"
    else:
        with pytest.raises(KeysError, match=r"keys\[0\]: an RS256 key must have at least 2048 bits"):
            to_keys({"keys": [jwk]})


def test_two_keys_of_one_id_are_refused() -> None:
    with pytest.raises(KeysError, match="same"):
        to_keys({"keys": [SECRET, secret_jwk()]})


def test_public_key_may_verify_but_not_come_last() -> None:
    public = public_jwk({**EC, "kid": "k0"})
    assert to_keys({"keys": [public, SECRET]})[0].signing is None
    with pytest.raises(KeysError, match="public"):
        to_keys({"keys": [SECRET, public]})


def test_keys_do_not_show_in_reprs() -> None:
    assert str(ring(SECRET).signing_key.signing) not in repr(ring(SECRET).signing_key)


def test_without_cryptography_the_error_names_the_extra() -> None:
    script = (
        "import sys, json; sys.modules['cryptography'] = None\n"
        "from service.auth.key_ring import KeysError, to_keys\n"
        "try: to_keys(json.loads(sys.argv[1]))\n"
        "except KeysError as error: print(error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, json.dumps({"keys": [EC]})], capture_output=True, text=True, check=True
    )
    assert re.search(r": \S+ -m pip install 'cryptography>=\d+'$", run.stdout.strip())


def test_bad_change_leaves_the_keys_of_before_in_force(tmp_path: Path) -> None:
    path = write_keys(tmp_path / "keys.json", SECRET)
    keys = load_keys(path)
    for content in (b"broken", None, b"broken again"):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        keys.refresh()
        assert keys.signing_key.key_id == "k1"
    write_keys(path, secret_jwk("k2"))
    keys.refresh()
    assert keys.signing_key.key_id == "k2"
    assert keys.find("k1") is None
    assert keys.version == 1


def test_first_look_at_an_unchanged_file_changes_nothing(tmp_path: Path) -> None:
    keys = load_keys(write_keys(tmp_path / "keys.json", SECRET))
    keys.refresh()
    assert keys.version == 0


def test_each_change_of_the_file_is_logged_once_and_shows_no_key(tmp_path: Path) -> None:
    path = write_keys(tmp_path / "keys.json", SECRET)
    keys = load_keys(path)
    with capture_logs() as events:
        path.write_bytes(b"broken")
        for _ in range(3):
            keys.refresh()
        write_keys(path, SECRET, secret_jwk("k2"))
        for _ in range(3):
            keys.refresh()
    bad, good = events
    assert (bad["log_level"], bad["error"]) == ("warning", f"the keys file {path} is not JSON")
    assert (good["log_level"], good["key_ids"]) == ("info", ["k1", "k2"])
    assert SECRET["k"] not in str(events)


def test_mode_that_was_made_private_is_logged(tmp_path: Path) -> None:
    path = write_keys(tmp_path / "keys.json", SECRET, mode=0o644)
    with capture_logs() as events:
        load_keys(path)
        load_keys(path)
    assert [(event["log_level"], event["path"]) for event in events] == [("warning", str(path))]


@pytest.mark.parametrize(("mode", "is_good"), [(0o440, True), (0o640, True), (0o641, False), (0o660, False)])
def test_file_of_root_may_be_read_by_the_servers_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, is_good: bool
) -> None:
    """As Kubernetes mounts Secrets."""
    if os.geteuid() != 0:
        pytest.skip("only root has files of root")
    path = write_keys(tmp_path / "keys.json", SECRET, mode=mode)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    if is_good:
        assert load_keys(path).signing_key.key_id == "k1"
        assert path.stat().st_mode & 0o777 == mode
    else:
        with pytest.raises(KeysError, match="set defaultMode: 0440 where it is a Secret of Kubernetes"):
            load_keys(path)


def test_file_that_can_not_be_read_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeysError, match="can't be read: Not a directory"):
        load_keys(tmp_path / "file" / "keys.json")


def test_missing_directories_are_made(tmp_path: Path) -> None:
    assert ensure_keys_file(tmp_path / "a" / "b" / "keys.json")


def test_file_that_can_not_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeysError, match="can't be written"):
        ensure_keys_file(tmp_path / "file" / "keys.json")
