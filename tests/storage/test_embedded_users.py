"""What PostgreSQL's own user is let pass, and which of it an operator is warned of."""

import logging
from pathlib import Path

import pytest

from storage.embedded import users

STRANGER = (4_000_000_000, 4_000_000_000)


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A directory of nobody but its owner, in one that others may pass."""
    tmp_path.chmod(0o755)
    directory = tmp_path / "private"
    directory.mkdir(mode=0o700)
    return directory


def test_the_servers_own_directory_is_opened_without_a_warning(private: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        users.open_data_directory(private, STRANGER)
        users.open_data_directory(private, STRANGER)
    assert private.stat().st_mode & 0o777 == 0o701
    assert [record.levelname for record in caplog.records if str(private) in record.getMessage()] == ["INFO"]


def test_a_directory_above_is_opened_with_a_warning(private: Path, caplog: pytest.LogCaptureFixture) -> None:
    users.open_way(private / "postgres", STRANGER)
    users.open_way(private / "postgres", STRANGER)
    assert private.stat().st_mode & 0o777 == 0o701
    assert [record.levelname for record in caplog.records if str(private) in record.getMessage()] == ["WARNING"]
