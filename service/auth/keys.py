"""The file of the signing keys: a JWK set (RFC 7517), the newest key last.

Made where it is missing, added to when keys rotate, and read again when it changes. Whoever changes it holds a lock
(`<file>.lock`) and puts a whole new file in the old one's place, so that readers see the one or the other.

To rotate: `add_key`; workers on this machine sign with it from then on and know it at once. Where servers have copies
of the file, first put the new key before the last one everywhere, then last. Take old keys out when the longest-lived
token that they signed has ended.
"""

import base64
import fcntl
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from service.auth.key_ring import Key, KeyRing, KeysError, to_keys

_SECRET_BYTES = 32
# Far above any set of keys; a file of another kind is not read into memory.
_MAX_FILE_BYTES = 1 << 20

_log = structlog.get_logger(__name__)


def load_keys(path: Path) -> KeyRing:
    """Reads the keys; the ring follows later changes of the file.

    A change that can't be used is logged, and the keys of before stay in force.

    Raises:
        KeysError: the file can't be read, others can read it, or it has no usable set of keys.
    """
    file = _KeysFile(path)
    return KeyRing(file.read(), file.read_if_changed)


def ensure_keys_file(path: Path) -> bool:
    """Makes the file with one new HS256 key where there is none; says whether it did. Processes may race.

    Raises:
        KeysError: the file can't be made.
    """
    with _locked(path):
        if path.exists():
            return False
        _write(path, [_new_secret()])
        return True


def add_key(path: Path) -> str:
    """Adds a new HS256 key that signs from now on; returns its id.

    Raises:
        KeysError: the file is not usable as it is, or can't be written.
    """
    with _locked(path):
        _KeysFile(path).read()
        entries = json.loads(path.read_bytes())["keys"]
        added = _new_secret()
        _write(path, [*entries, added])
        return added["kid"]


class _KeysFile:
    """The file and what it looked like when last read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    def read(self) -> list[Key]:
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                self._seen = _signature(status)
                _check_mode(self._path, status)
                content = file.read(_MAX_FILE_BYTES)
            document = json.loads(content)
        except OSError as error:
            raise KeysError(f"the keys file {self._path} can't be read: {error.strerror}") from error
        except (ValueError, RecursionError):
            raise KeysError(f"the keys file {self._path} is not JSON") from None
        try:
            return to_keys(document)
        except KeysError as error:
            raise KeysError(f"the keys file {self._path} can't be used: {error}") from None

    def read_if_changed(self) -> Sequence[Key] | None:
        try:
            seen = _signature(self._path.stat())
        except OSError:
            seen = None
        if seen == self._seen:
            return None
        self._seen = seen  # what is wrong is logged once for each change
        try:
            keys = self.read()
        except KeysError as error:
            _log.warning("The keys file has changed for the worse; the keys of before stay.", error=str(error))
            return None
        _log.info("The keys file has changed.", key_ids=[key.key_id for key in keys])
        return keys


def _signature(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _check_mode(path: Path, status: os.stat_result) -> None:
    """Refuses a file that others can read; a root-owned one may be shared with the server's group.

    Source: PostgreSQL's rule for ssl_key_file. Orchestrators mount secrets that way.
    """
    mode = stat.S_IMODE(status.st_mode)
    allowed = 0o640 if status.st_uid == 0 and os.geteuid() != 0 else 0o600
    if mode & 0o077 & ~allowed:
        raise KeysError(f"the keys file {path} can be read or changed by others (mode {mode:04o}); chmod 600 it")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KeysError(f"the keys file {path} can't be written: {error.strerror}") from error


def _write(path: Path, entries: list[dict[str, str]]) -> None:
    """Puts a new file in the place of the old one; the caller holds the lock."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps({"keys": entries}, indent=2).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _new_secret() -> dict[str, str]:
    secret = base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).rstrip(b"=").decode()
    key_id = f"{time.strftime('%Y%m%d', time.gmtime())}-{secrets.token_hex(4)}"
    return {"kty": "oct", "kid": key_id, "alg": "HS256", "use": "sig", "k": secret}
