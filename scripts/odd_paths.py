"""Makes right for environment.py what pip wrote into it that has its place in it, whatever letters that has."""

import os
import re
from pathlib import Path

# pip's form for a place with a blank in it; between the quotes the shell still takes these for its own.
_HEADER = re.compile(rb"""^#!.*\n(?:'''exec' .*\n' '''\n?)?""")
_SHELL_LETTERS = set('"$`\\')
# What `sh` runs as a command, and Python reads as a string.
_OWN_HEADER = b"""#!/bin/sh
'''exec' "$(dirname -- "$0")/python" "$0" "$@"
' '''
"""


def make_right(venv: Path, root: Path) -> None:
    """Rewrites the path files of our projects, and where it must be, the first lines of commands.

    Python 3.11 reads path files in the encoding of the locale: in C it fails on any letter beyond ASCII. So what is in
    the checkout is written relative to the file.
    """
    if venv.resolve().is_relative_to(root.resolve()):
        for path in venv.glob("lib/python3*/site-packages/*parley*.pth"):
            places = path.read_text(encoding="utf-8").splitlines()
            relative = [os.path.relpath(place, path.parent) if place.startswith("/") else place for place in places]
            path.write_text("".join(f"{place}\n" for place in relative), encoding="utf-8")
    if _SHELL_LETTERS & set(str(venv)):
        for path in (venv / "bin").iterdir():
            if path.is_file() and not path.is_symlink():
                _rewrite_header(path)


def _rewrite_header(path: Path) -> None:
    content = path.read_bytes()
    header = _HEADER.match(content)
    if header and b"python" in header[0] and header[0] != _OWN_HEADER:
        path.write_bytes(_OWN_HEADER + content[header.end() :])
