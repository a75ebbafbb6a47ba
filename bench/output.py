"""Files of results: each is written anew as a whole or not at all, and an error names the file."""

import contextlib
import os
from pathlib import Path

from bench.errors import BenchError


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file; where that fails, what was there before stays.

    Raises:
        OSError: it could not be written; `filename` is the path.
    """
    try:
        if path.exists() and not path.is_file():  # a device or a pipe is written to, not replaced
            path.write_bytes(data)
            return
        partial = path.with_name(f"{path.name}.part")
        try:
            partial.write_bytes(data)
            partial.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def in_words(error: OSError) -> str:
    """What could not be written, and why, in a line."""
    return f"{error.filename} can't be written: {error.strerror}" if error.filename else str(error)


def check_place(path: Path | None) -> None:
    """Says no to a file that can never be written, before anything is measured. Raises: BenchError."""
    if path is None:
        return
    if path.is_dir():
        raise BenchError(f"{path} can't be written: it is a directory")
    if not path.parent.is_dir():
        raise BenchError(f"{path} can't be written: there is no directory {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise BenchError(f"{path} can't be written: permission denied")
