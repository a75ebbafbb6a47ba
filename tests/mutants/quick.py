"""A pytest plugin for runs with a mutant: one failing example is enough, so it is not made smaller."""

import pytest
from hypothesis import Phase, settings


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Comes after the conftest's profile, and before tests are loaded."""
    settings.register_profile("mutants", settings(), phases=(Phase.explicit, Phase.generate), database=None)
    settings.load_profile("mutants")
