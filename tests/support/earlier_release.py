"""An earlier release's server, taken out of history, with the packages of its own lock file, to run beside this one."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.servers import RunningServer, start_server

_ROOT = Path(__file__).parents[2]
# From here on data are moved to this version's. Later releases will be added, and none is to be left out.
VERSION = "0.1.0"
_PLACES = _ROOT / "build" / "releases"


class EarlierRelease:
    """The release, installed into `build/releases` once for each commit and Python.

    Attributes:
        migrations: the names of those that it knows.
    """

    def __init__(self) -> None:
        script = _ROOT / "scripts/last_release.sh"
        found = subprocess.run([script, VERSION], check=True, capture_output=True, text=True)
        commit = found.stdout.strip()
        assert commit, f"history has no {VERSION}"
        self._place = _PLACES / f"{commit[:12]}-{sys.version_info.major}.{sys.version_info.minor}"
        if not (self._place / "whole").exists():
            self._install(commit)
        self.migrations = {path.name for path in (self._place / "storage/postgres/migrations").glob("*.sql")}

    def _install(self, commit: str) -> None:
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", commit], cwd=_ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", str(self._place)], input=archive.stdout, check=True)
        pip = [str(self._place / "venv/bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
        for command in (
            [sys.executable, "-m", "venv", str(self._place / "venv")],
            [*pip, "--require-hashes", "-r", str(self._place / "requirements.lock")],
            [*pip, "--no-deps", "--no-build-isolation", "-e", str(self._place)],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        (self._place / "whole").touch()

    def start(self, data_dir: Path, *, settings: dict[str, str] | None = None) -> RunningServer:
        """Starts its server on a free port, without waiting."""
        return start_server(data_dir, settings=settings, command=(str(self._place / "venv/bin/parley"), "serve"))
