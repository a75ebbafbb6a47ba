"""The last release's Python client, taken out of history: its stubs, its runner and the scenarios of its day."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

from tests.conformance.languages import LANGUAGES, ROOT, Language

_PLACE = ROOT / "build" / "release"


def released() -> tuple[Language, Path] | None:
    """Gives the client and the folder of its scenarios; None before the first release."""
    commit = subprocess.run(
        ["scripts/last_release.sh"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    if not commit:
        return None
    shutil.rmtree(_PLACE, ignore_errors=True)
    _PLACE.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", commit, "clients/python", "clients/conformance"], cwd=ROOT, check=True, capture_output=True
    )
    subprocess.run(["tar", "-x", "-C", str(_PLACE)], input=archive.stdout, check=True)
    python = next(language for language in LANGUAGES if language.name == "python")
    return dataclasses.replace(python, clients=_PLACE / "clients"), _PLACE / "clients" / "conformance"
