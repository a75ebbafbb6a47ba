"""Reads the PARLEY_* variables: selects those that are settings, and strips blanks and quotes around their values.

Imports no module of Parley.
"""

import re
from collections.abc import Mapping

PREFIX = "PARLEY_"
FILE_VARIABLE = "PARLEY_CONFIG"
# The commit that an image was built from; not a setting. GetServerInfo and the metrics show it.
COMMIT_VARIABLE = "PARLEY_COMMIT"

# Kubernetes puts these into every container beside a Service named "parley" or "parley-anything"; and Docker, for a
# linked container. Both the name and the value are as there, so that a misspelt setting is still an error.
_ADDRESS = r"(tcp|udp|sctp)://\S+"
_LINKS = tuple(
    (re.compile(rf"PARLEY(_[A-Z0-9_]+)?_{name}"), re.compile(value))
    for name, value in (
        (r"SERVICE_HOST", r"[\w.:-]+"),
        (r"SERVICE_PORT(_[A-Z0-9_]+)?", r"\d+"),
        (r"PORT", _ADDRESS),
        (r"PORT_\d+_(TCP|UDP|SCTP)", _ADDRESS),
        (r"PORT_\d+_(TCP|UDP|SCTP)_PROTO", r"tcp|udp|sctp"),
        (r"PORT_\d+_(TCP|UDP|SCTP)_PORT", r"\d+"),
        (r"PORT_\d+_(TCP|UDP|SCTP)_ADDR", r"[\w.:-]+"),
        (r"NAME", r"/\S+"),
        (r"ENV_\w+", r"(?s:.*)"),
    )
)


def read_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that are settings or should be, in capitals; without empty ones, which are not set."""
    found = {name.upper(): clean(value) for name, value in environment.items() if name.upper().startswith(PREFIX)}
    return {
        name: value for name, value in found.items() if value and name != COMMIT_VARIABLE and not _is_link(name, value)
    }


def clean(value: str) -> str:
    """Takes off blanks, line ends, and a pair of quotes around all: `docker --env-file` takes quotes for the value."""
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1].strip()
    return value


def _is_link(name: str, value: str) -> bool:
    return any(link.fullmatch(name) and shape.fullmatch(value) for link, shape in _LINKS)
