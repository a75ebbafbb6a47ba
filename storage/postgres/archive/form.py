"""The file of an export: a zip with one member a table, and a manifest as the last one.

A member `tables/NAME` holds the rows as PostgreSQL's COPY writes them (text format, UTF-8, times in UTC). COPY's text
format is the same in all versions of PostgreSQL, which a dump of `pg_dump` is not: pg_restore 15 can't read one of 18.
A file that was cut off has no manifest, so it is never taken for a whole one.
"""

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from storage.errors import StorageError

FORMAT = 1
_MANIFEST = "manifest.json"
_READ_BYTES = 256 * 1024
_TABLE_NAME = re.compile(r"[a-z_]{1,63}")  # stands in statements

# What belongs to running servers: worth nothing elsewhere, and the transaction ids in some would be wrong there.
OF_RUNNING_SERVERS = frozenset({"commit_feed", "content_changes", "workers", "open_streams"})
# The manifest has the migrations.
LEFT_OUT = OF_RUNNING_SERVERS | {"migrations"}


class ArchiveError(StorageError):
    """The file, or what is in it, can't be used; the text is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the file.

    Attributes:
        columns: in the order in which the rows have them.
        row_count: how many rows.
    """

    name: str
    columns: tuple[str, ...]
    row_count: int

    @property
    def member(self) -> str:
        """The name in the zip."""
        return f"tables/{self.name}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the file says of itself.

    Attributes:
        format: of the file; FORMAT in this version.
        version: of Parley.
        server_version: of PostgreSQL, as it tells it.
        export_time: when the snapshot was taken, RFC 3339.
        deployment_id: whose data these are.
        migrations: names and checksums of all that had been run, in order.
        tables: in an order in which they can be filled: a table comes after those that its foreign keys lead to.
    """

    format: int
    version: str
    server_version: str
    export_time: str
    deployment_id: str
    migrations: dict[str, str]
    tables: tuple[Table, ...]

    @property
    def row_count(self) -> int:
        """How many rows all tables have."""
        return sum(table.row_count for table in self.tables)


def write_manifest(file: zipfile.ZipFile, manifest: Manifest) -> None:
    """Writes the last member."""
    file.writestr(_MANIFEST, json.dumps(asdict(manifest), indent=1))


def read_manifest(file: zipfile.ZipFile) -> Manifest:
    """Reads what the file says of itself.

    Raises:
        ArchiveError: it is no export, or of a newer form.
    """
    try:
        found: dict[str, Any] = json.loads(file.read(_MANIFEST))
        if found["format"] != FORMAT:
            raise ArchiveError(f"the export has the form {found['format']}, and this version reads {FORMAT}")
        tables = tuple(Table(each["name"], tuple(each["columns"]), each["row_count"]) for each in found.pop("tables"))
        if not all(_TABLE_NAME.fullmatch(table.name) for table in tables):
            raise ValueError("a name that no table has")
        return Manifest(**{**found, "migrations": dict(found["migrations"])}, tables=tables)
    except (KeyError, TypeError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise ArchiveError(f"the file is no whole export of Parley: {type(error).__name__}") from error


def open_archive(path: Path) -> zipfile.ZipFile:
    """Opens a file for reading.

    Raises:
        ArchiveError: it can't be read, or is something else.
    """
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise ArchiveError(f"can't read {path}: {error.strerror}") from None
    except zipfile.BadZipFile:
        raise ArchiveError(f"{path} is no whole export of Parley; was it cut off?") from None


def read_chunks(member: IO[bytes]) -> Iterator[bytes]:
    """Yields a member's bytes in chunks; a damaged member raises zipfile.BadZipFile at its end."""
    while chunk := member.read(_READ_BYTES):
        yield chunk
