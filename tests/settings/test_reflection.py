"""Where the server describes itself."""

import pytest

from service.settings.reflection import shows_reflection
from service.settings.tree import Settings


@pytest.mark.parametrize(
    ("listen", "is_shown"),
    [
        ("127.0.0.1:50051", True),
        ("[::1]:50051", True),
        ("localhost:50051", True),
        ("LOCALHOST:50051", True),
        ("0.0.0.0:50051", False),
        ("[::]:50051", False),
        (":50051", False),
        ("chat.example:50051", False),
    ],
)
def test_reflection_is_on_loopback_alone_unless_it_is_set(listen: str, is_shown: bool):
    assert shows_reflection(Settings(), listen) is is_shown
    assert shows_reflection(Settings(reflection="on"), listen)
    assert not shows_reflection(Settings(reflection="off"), listen)
