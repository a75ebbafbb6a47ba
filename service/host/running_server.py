"""What the server that runs on a data directory says of itself. Loads little: `parley health` has it, too."""

import fcntl
import json
import os
from typing import Any

LOCK_NAME = "server.lock"


def find_server(path: "str | os.PathLike[str]") -> dict[str, Any] | None:
    """Returns what the server that runs on a data directory has published ("pid", "listen"); None: none runs."""
    try:
        descriptor = os.open(os.path.join(os.path.expanduser(path), LOCK_NAME), os.O_RDONLY | os.O_CLOEXEC)  # noqa: PTH111, PTH118 # pathlib takes longer to load than all of this
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            return dict(json.loads(os.pread(descriptor, 4096, 0)))
        except ValueError:  # it is just starting
            return None
    else:
        return None
    finally:
        os.close(descriptor)
