"""The server's package as pip knows it: its name, its version, and how what it left out is installed."""

import re
import shlex
import sys
from importlib import metadata

# The command is `parley`; a package of that name on the public index is another project's.
NAME = "parley-server"


def version() -> str:
    """Returns the version that runs."""
    return metadata.version(NAME)


def install_command(extra: str) -> str:
    """Returns a shell line that installs an extra's packages, beside a server from wheels or from a checkout."""
    wanted = [
        requirement.partition(";")[0].strip()
        for requirement in metadata.requires(NAME) or []
        if re.search(rf"""extra == ['"]{re.escape(extra)}['"]""", requirement)
    ]
    return shlex.join([sys.executable, "-m", "pip", "install", *wanted])
