"""PostgreSQL's disk is full when the schema is made: a line that says so, and a second try that finds room works."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.embedded import EmbeddedPostgres
from tests.support.disks import small_disk

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]

_DISK_BYTES = 120 * 1024 * 1024


@pytest.fixture
def disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="parley-disk-") as name:
        Path(name).chmod(0o755)
        with small_disk(Path(name), _DISK_BYTES):
            yield Path(name)


def fill(path: Path) -> None:
    """Writes until there is no room."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65_536))


def migrate(url: str, data_dir: Path) -> "subprocess.CompletedProcess[str]":
    environment = {"PARLEY_DATABASE_URL": url, "PARLEY_DATA_DIR": str(data_dir)}
    command = [sys.executable, "-m", "service", "migrate"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)


def test_full_disk_is_told_and_room_mends_it(disk: Path, tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(disk / "data")
    postgres.start()
    try:
        filler = disk / "filler"
        with pytest.raises(OSError, match="No space left"):
            fill(filler)
        refused = migrate(postgres.url, tmp_path)
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        assert "No space left on device" in refused.stderr.splitlines()[-1]
        filler.unlink()
        assert migrate(postgres.url, tmp_path).returncode == 0
    finally:
        postgres.stop()
