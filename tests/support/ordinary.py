"""An ordinary user for tests that run as root, and a Python that this user may run: ours may be in root's home."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USER = "nobody"
_PLACES = ("/usr/local/bin", "/usr/bin")


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter, and what it needs in its environment to find our packages."""

    path: str
    settings: dict[str, str]


def python_of_ordinary_user(needs: str) -> Python:
    """Finds one that can import `needs`; skips the test where there is none, or where the tests don't run as root."""
    if os.geteuid() != 0:
        pytest.skip("the tests run as an ordinary user already")
    version = f"python3.{sys.version_info.minor}"
    installed = [path for path in sys.path if path.endswith("site-packages")]
    packages = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients/python"), *installed])}
    for path, settings in [(sys.executable, {}), *((f"{place}/{version}", packages) for place in _PLACES)]:
        try:
            subprocess.run(
                [path, "-c", f"import {needs}"],
                env=os.environ | settings,
                user=USER,
                check=True,
                stderr=subprocess.DEVNULL,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return Python(path, settings)
    pytest.skip(f"there is no Python that {USER} may run and that can import {needs}")
