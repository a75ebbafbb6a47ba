"""pip for environment.py: run with the user's settings of where packages come from, and none of where they go.

A failure is one line that says what to do; the whole of what pip said is in a file in the environment.
"""

import ast
import os
import re
import subprocess
from pathlib import Path

# Of the user's variables and pip.conf, these alone count. Others (user, target, prefix, constraint, require-hashes ...)
# would put packages elsewhere or choose others than the lock files do.
_KEPT = (
    *("index-url", "extra-index-url", "find-links", "no-index", "proxy", "trusted-host", "cert", "client-cert"),
    *("keyring-provider", "cache-dir", "no-cache-dir", "timeout", "default-timeout", "retries", "resume-retries"),
    *("use-feature", "use-deprecated"),
)
_ADVICE = (
    (r"No space left on device|Disk quota exceeded", "the disk is full; make room, then run make again"),
    (r"Read-only file system", "the file system is read-only; copy the checkout to where you can write"),
    (r"Permission denied", "files there belong to another user; remove the environment, or run as that user"),
    (r"DO NOT MATCH THE HASHES", "a package is not the one of the lock file; a mirror or a proxy changes files"),
)
_NETWORK = (
    r"NewConnectionError|Connection refused|Connection reset|Network is unreachable|name resolution|Name or service"
    r"|ProxyError|SSLError|CERTIFICATE_VERIFY|timed out|Timeout|Max retries|connection broken|No route to host"
)


class InstallError(Exception):
    """The environment can't be made; the text is one line that says what to do."""

    def __init__(self, text: str, *, is_network: bool = False) -> None:
        super().__init__(text)
        self.is_network = is_network


def clean_environment() -> dict[str, str]:
    """Returns the caller's environment without what changes which Python runs, what it imports, or what pip does."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_", "VIRTUAL_ENV"))}


def pip_install(venv: Path, *arguments: str) -> None:
    """Runs `pip install`.

    Raises:
        InstallError: pip failed.
    """
    environment = clean_environment() | _pip_settings(venv) | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    log = venv / "pip.log"
    command = [str(venv / "bin/python"), "-m", "pip", "install", "--no-input", *arguments]
    with log.open("wb") as output:
        status = subprocess.run(command, check=False, stdout=output, stderr=output, env=environment).returncode
    if status < 0:
        raise InstallError(f"pip was killed by signal {-status}; with too little memory that happens. Run make again")
    if status:
        raise _explain(log)


def _pip_settings(venv: Path) -> dict[str, str]:
    """Returns the settings of the user that count, as variables; pip's own files are not read again."""
    command = [str(venv / "bin/python"), "-m", "pip", "config", "list"]
    listed = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace", env=os.environ)
    if listed.returncode:
        lines = listed.stderr.strip().splitlines() or ["no word of why"]
        raise InstallError(f"pip can't read its settings: {lines[-1].removeprefix('ERROR: ')}")
    found = {"PIP_CONFIG_FILE": os.devnull}
    for line in listed.stdout.splitlines():
        section, _, rest = line.partition(".")
        name, _, value = rest.partition("=")
        if section in ("global", "install", ":env:") and name in _KEPT:
            found["PIP_" + name.replace("-", "_").upper()] = str(ast.literal_eval(value))
    return found


def _explain(log: Path) -> InstallError:
    said = log.read_text(errors="replace")
    whole = f"the whole of what pip said is in {log}"
    for pattern, advice in _ADVICE:
        if re.search(pattern, said):
            return InstallError(f"pip failed: {advice} ({whole})")
    if found := re.search(_NETWORK, said):
        return InstallError(
            f"pip can't fetch packages ({found[0]}): look at the network, at https_proxy, and at pip's index-url; then"
            f" run make again ({whole})",
            is_network=True,
        )
    errors = [line for line in said.splitlines() if line.startswith("ERROR: ")] or said.strip().splitlines()[-1:]
    return InstallError(f"pip failed: {errors[0].removeprefix('ERROR: ') if errors else 'no word of why'} ({whole})")
