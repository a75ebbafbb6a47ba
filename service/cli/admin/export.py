"""Writes all that is stored about one user, record by record."""

import os
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from service.cli.admin.opening import open_database, to_name
from service.settings.start_error import StartError
from service.settings.tree import Settings
from storage.postgres.accounts.export import iter_account
from storage.records import Role


async def export_user(settings: Settings, name: str, write: Callable[[Mapping[str, Any]], object]) -> None:
    """Writes the records of a user, and one of type `end` that counts them by type.

    Raises:
        StartError: there never was such an account, or the database fails.
    """
    username = to_name(name)
    counts: Counter[str] = Counter()
    async with open_database(settings) as database:
        async for record in iter_account(database, username):
            counts[record["type"]] += 1
            write(_to_public(record))
    if not counts:
        raise StartError(f"there is no account {username}")
    write({"type": "end", "username": username, "records": dict(counts)})


@contextmanager
def opened(path: Path | None) -> Iterator[TextIO]:
    """Opens a new file, which has its name when it is whole; standard output where there is no path.

    Raises:
        StartError: the file is there already, or can't be written.
    """
    if path is None:
        yield sys.stdout
        return
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        if path.exists():
            raise StartError(f"{path} is there already: name another file")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                yield file
                file.flush()
                os.fsync(descriptor)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise StartError(f"{path} can't be written: {error.strerror}") from None


def _to_public(record: dict[str, Any]) -> dict[str, Any]:
    """Returns a record as it is written: roles by name, the content of a message without what is empty."""
    match record["type"]:
        case "membership":
            return {**record, "role": Role(record["role"]).name}
        case "message":
            extras = record.pop("extras") or {}
            return {name: value for name, value in {**record, **extras}.items() if value is not None}
    return record
