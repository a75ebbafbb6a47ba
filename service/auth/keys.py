"""Reads the file of the signing keys: a JWK set (RFC 7517), the newest key last.

The file is read at the start, and again when it has changed. `keys_file.py` writes it; `key_rotation.py` adds, promotes
and removes keys.
"""

import base64
import json
import os
import secrets
import stat
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from service.auth.key_ring import Key, KeyRing, KeysError, to_keys
from service.auth.keys_file import locked, write

_SECRET_BYTES = 32
# Far above the size of any set of keys, so that a wrong file is not read into memory.
_MAX_FILE_BYTES = 1 << 20

_log = structlog.get_logger(__name__)


def load_keys(path: Path) -> KeyRing:
    """Returns the keys of the file; `KeyRing.refresh` reads later changes of the file.

    A change that can't be used is logged, and the keys of before stay in force.

    Raises:
        KeysError: the file can't be read, others can read it, or it has no usable set of keys.
    """
    file = _KeysFile(path)
    return KeyRing(file.read(), file.read_if_changed)


def ensure_keys_file(path: Path) -> bool:
    """Creates the file with one new HS256 key where there is none; returns whether it did. Processes may race.

    Raises:
        KeysError: the file can't be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KeysError(f"the keys file {path} can't be written: {error.strerror}") from error
    with locked(path) as file:
        if file.exists():
            return False
        write(file, {"keys": [new_secret()]})
        return True


def read_keys_file(path: Path) -> list[Key]:
    """Returns the keys that the file has now.

    Raises:
        KeysError: as for `load_keys`.
    """
    return _KeysFile(path).read()


class _KeysFile:
    """The file, and its inode, modification time and size when it was last read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    def read(self) -> list[Key]:
        try:
            if not stat.S_ISREG(self._path.stat().st_mode):  # opening a pipe waits for ever
                raise KeysError(f"the keys file {self._path} is no regular file, which each worker could read again")
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                self._seen = _signature(status)
                _ensure_private(self._path, file.fileno(), status)
                content = file.read(_MAX_FILE_BYTES)
            document = json.loads(content)
        except FileNotFoundError:
            raise KeysError(f"the keys file {self._path} is not there: `parley keys add` makes it") from None
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
        self._seen = seen  # a bad file is logged once for each change
        try:
            keys = self.read()
        except KeysError as error:
            _log.warning("The keys file has changed for the worse; the keys of before stay.", error=str(error))
            return None
        _log.info("The keys file has changed.", key_ids=[key.key_id for key in keys])
        return keys


def _signature(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _ensure_private(path: Path, descriptor: int, status: os.stat_result) -> None:
    """Makes a file that others can read private, where this user owns it; refuses the file of another user.

    Orchestrators that mount a volume for a group (`fsGroup`) let the group read all its files, at each start. The
    server's group may read a file that root owns, as Secrets are mounted. Source: PostgreSQL's rule for ssl_key_file.

    Raises:
        KeysError: others can read the file and it belongs to another user, or its mode can't be changed.
    """
    mode = stat.S_IMODE(status.st_mode)
    allowed = 0o640 if status.st_uid == 0 and os.geteuid() != 0 else 0o600
    if not mode & 0o077 & ~allowed:
        return
    if status.st_uid == os.geteuid():
        try:
            os.fchmod(descriptor, 0o600)
        except OSError as error:
            raise KeysError(
                f"the keys file {path} can be read or changed by others (mode {mode:04o}), and that can't be mended:"
                f" {error.strerror}"
            ) from None
        _log.warning("The keys file could be read or changed by others; it is its owner's alone now.", path=str(path))
        return
    advice = "set defaultMode: 0440 where it is a Secret of Kubernetes" if status.st_uid == 0 else "chmod 600 it"
    raise KeysError(
        f"the keys file {path} can be read or changed by others (mode {mode:04o}) and belongs to another user"
        f" (id {status.st_uid}): {advice}"
    )


def new_secret() -> dict[str, str]:
    """Returns a new HS256 key as a JWK, with an id that begins with the date."""
    secret = base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).rstrip(b"=").decode()
    key_id = f"{time.strftime('%Y%m%d', time.gmtime())}-{secrets.token_hex(4)}"
    return {"kty": "oct", "kid": key_id, "alg": "HS256", "use": "sig", "k": secret}
