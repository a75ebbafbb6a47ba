"""What the tests of the services share. All of them have the marker `services`, so plain pytest deselects them."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.postgres15 import Postgres15
from tests.services.site import Site, open_site

_ROOT = Path(__file__).parents[2]
_LIMIT_SECONDS = 180


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.services)
            item.add_marker(pytest.mark.timeout(_LIMIT_SECONDS))


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    """Skips where the programs are not installed; fails in CI, which installs them before."""
    done = subprocess.run(
        [str(_ROOT / "scripts" / "service_tools.sh"), "--check"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        assert not os.environ.get("CI"), done.stderr
        pytest.skip(done.stderr.strip())


@pytest.fixture
def site() -> Iterator[Site]:
    """Where the services of this test live."""
    with open_site() as opened:
        yield opened


@pytest.fixture
def postgres(site: Site) -> Postgres15:
    """A PostgreSQL 15 with a role `parley` that may make its schema."""
    server = Postgres15(site)
    server.start()
    server.add_role("parley", "GRANT CREATE ON DATABASE chat TO parley")
    return server
