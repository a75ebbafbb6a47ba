"""The last release's server, taken out of history: to be run beside this one's on the same data."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.servers import RunningServer, start_server

_ROOT = Path(__file__).parents[2]
_METADATA = "Metadata-Version: 2.1\nName: parley\nVersion: {}\n"


class LastRelease:
    """The code of the last release, in a directory.

    Args:
        place: an empty directory.

    Attributes:
        version: its number.
        migrations: the names of those that it knows.
    """

    def __init__(self, place: Path) -> None:
        commit = subprocess.run(
            [_ROOT / "scripts/last_release.sh"], cwd=_ROOT, check=True, capture_output=True, text=True
        ).stdout.strip()
        assert commit, "history has no release"
        archive = subprocess.run(
            ["git", "archive", commit, "service", "storage", "clients/python", "pyproject.toml"],
            cwd=_ROOT,
            check=True,
            capture_output=True,
        )
        subprocess.run(["tar", "-x", "-C", str(place)], input=archive.stdout, check=True)
        lines = (place / "pyproject.toml").read_text().splitlines()
        self.version = next(line.split('"')[1] for line in lines if line.startswith("version ="))
        self.migrations = {path.name for path in (place / "storage/postgres/migrations").glob("*.sql")}
        information = place / f"parley-{self.version}.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(_METADATA.format(self.version))
        self._path = f"{place}:{place / 'clients/python'}"
        self._program = shutil.which("env")

    def start(self, data_dir: Path, *, settings: dict[str, str] | None = None) -> RunningServer:
        """Starts its server on a free port, without waiting."""
        command = (str(self._program), f"PYTHONPATH={self._path}", sys.executable, "-P", "-m", "service", "serve")
        return start_server(data_dir, settings=settings, command=command)
