"""Writes the file of the signing keys: under a lock, by replacing the old file as a whole.

Readers see the old file or the new one. A symbolic link is followed and stays a link. The new file has the owner, group
and mode of the old one. The first file belongs to the owner of its directory, so that the server can read a file that
`parley` made as root. The content is the matter of `keys.py` and `key_rotation.py`.
"""

import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from service.auth.key_ring import KeysError

_PRIVATE = 0o600


@contextmanager
def locked(path: Path) -> Iterator[Path]:
    """Holds the lock of the file while the block runs; yields the path with links resolved.

    Raises:
        KeysError: the directory is missing or can't be written; also in place of an OSError of the block.
    """
    path = path.resolve()
    try:
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
        try:
            _give(descriptor, _owner_of(path))
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield path
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KeysError(f"the keys file {path} can't be written: {error.strerror}") from error


def write(path: Path, document: Mapping[str, object]) -> None:
    """Replaces the file; the caller holds the lock.

    Raises:
        KeysError: the file belongs to another user, who could not read the new one.
        OSError: the new file can't be written; the old one stays.
    """
    owner, mode = _owner_of(path), _PRIVATE
    if path.exists():
        status = path.stat()
        mode = stat.S_IMODE(status.st_mode)
        if os.geteuid() not in (0, status.st_uid):
            raise KeysError(f"the keys file {path} belongs to user {status.st_uid}: change it as that user, or as root")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(document, indent=2).encode() + b"\n")
            file.flush()
            _give(descriptor, owner)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _owner_of(path: Path) -> os.stat_result:
    return path.stat() if path.exists() else path.parent.stat()


def _give(descriptor: int, owner: os.stat_result) -> None:
    """Sets the owner of a file that root made to the owner of the old file, or of the directory."""
    if os.geteuid() == 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
