"""The last release's Python client, taken out of history: its stubs, its runner and the scenarios of that release."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

from conformance.languages import LANGUAGES, ROOT, Language

_PLACE = ROOT / "build" / "release"
# The folders that have held the scenarios, the newest first: up to 0.1.1 they were beside the clients.
_FOLDERS = ("conformance/scenarios", "clients/conformance")
# Scenarios of that release that expect what this version does otherwise -> why. CHANGELOG.md says each.
_LEFT_OUT = {"account_errors": "a refusal names all fields that are wrong, and that release named the first alone"}


def released() -> tuple[Language, Path] | None:
    """Returns the client and the folder of its scenarios; None before the first release."""
    commit = _read("scripts/last_release.sh")
    if not commit:
        return None
    shutil.rmtree(_PLACE, ignore_errors=True)
    _PLACE.mkdir(parents=True)
    scenarios = scenarios_of(commit)
    archive = subprocess.run(
        ["git", "archive", commit, "clients/python", scenarios], cwd=ROOT, check=True, capture_output=True
    )
    subprocess.run(["tar", "-x", "-C", str(_PLACE)], input=archive.stdout, check=True)
    python = next(language for language in LANGUAGES if language.name == "python")
    return dataclasses.replace(python, clients=_PLACE / "clients", left_out=_LEFT_OUT), _PLACE / scenarios


def scenarios_of(commit: str) -> str:
    """Returns the folder in which a commit has its scenarios, a path from the top."""
    listed = _read("git", "ls-tree", "-d", "--name-only", commit, *_FOLDERS).splitlines()
    return next(folder for folder in _FOLDERS if folder in listed)


def _read(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
