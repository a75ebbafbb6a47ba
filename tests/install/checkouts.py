"""A checkout as small as one can be that `make .venv/.runtime` works in, without asking any network.

Its two projects are empty, and what builds them is in it (PEP 660); its lock files ask for nothing.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD_SECONDS = 55

_PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "{name}"
version = "0.0.1"
"""

# Writes a wheel with a path file that names the project's folder, as hatchling does, and a command.
_BACKEND = """
import pathlib, zipfile

NAME = "{name}"

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    folder = NAME.replace("-", "_")
    info = f"{{folder}}-0.0.1.dist-info"
    name = f"{{folder}}-0.0.1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory) / name, "w") as wheel:
        wheel.writestr(f"_{{folder}}.pth", str(pathlib.Path.cwd()) + "\\n")
        wheel.writestr(f"{{info}}/METADATA", f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: 0.0.1\\n")
        wheel.writestr(f"{{info}}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{{info}}/entry_points.txt", "[console_scripts]\\n{command} = {module}:main\\n")
        wheel.writestr(f"{{info}}/RECORD", "")
    return name
"""


@dataclass(frozen=True, slots=True)
class Checkout:
    """A folder with a Makefile."""

    folder: Path

    @property
    def venv(self) -> Path:
        """Where `make` makes the environment."""
        return self.folder / ".venv"

    def make(self, *arguments: str, target: str = ".venv/.runtime", **variables: str) -> tuple[int, str]:
        """Runs make; gives its status, and what it said."""
        done = subprocess.run(
            ["make", *arguments, target],
            cwd=self.folder,
            env=environment() | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=BUILD_SECONDS,
        )
        return done.returncode, done.stdout

    def say(self, **variables: str) -> str:
        """Runs the command that is installed; gives what it prints."""
        command = [str(self.venv / "bin" / "parley-test")]
        done = subprocess.run(command, env=environment() | variables, capture_output=True, text=True, check=False)
        return done.stdout.strip() or done.stderr


def environment() -> dict[str, str]:
    """What make is run with: `python3` is the Python of the tests, and no settings of pip's are ours."""
    left_out = ("PIP_", "PYTHON", "VIRTUAL_ENV", "MAKE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return kept | {"PATH": f"{Path(sys.base_prefix) / 'bin'}:{os.environ['PATH']}", "PIP_NO_INDEX": "1"}


def make_checkout(folder: Path) -> Checkout:
    """Makes one; its command prints where it is."""
    for name in ("scripts", "clients/python/parley", "service", "storage", "bench"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "Makefile", folder)
    for path in (*(ROOT / "scripts").glob("*.py"), ROOT / "scripts" / "environment.sh"):
        shutil.copy(path, folder / "scripts")
    for name in ("requirements.lock", "requirements-dev.lock"):
        (folder / name).write_text("")
    (folder / "service" / "saying.py").write_text("def main() -> None:\n    print(__file__)\n")
    for name, place, module in (
        ("parley-server", folder, "service.saying"),
        ("parley-client", folder / "clients/python", "parley"),
        ("parley-bench", folder / "bench", "bench"),
    ):
        command = "parley-test" if place == folder else "parley-other"
        (place / "pyproject.toml").write_text(_PROJECT.format(name=name))
        (place / "backend.py").write_text(_BACKEND.format(name=name, command=command, module=module))
    return Checkout(folder)
