"""Which tests are nearest to a module. Those of its own name are, unless the table below names others."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Rooms whose mutants are made.
ROOMS = ("service/domain", "service/auth")

_ACCOUNTS = ("tests/auth/test_accounts.py",)
_LOGINS = ("tests/auth/test_logins.py",)
_KEYS = ("tests/auth/test_keys.py", "tests/auth/test_key_rotation.py")
_NEAREST = {
    "service/auth/issuers.py": ("tests/auth/test_issuers.py", "tests/auth/test_verifier.py"),
    "service/auth/key_ring.py": (*_KEYS, "tests/auth/test_verifier.py"),
    "service/auth/keys.py": _KEYS,
    "service/auth/keys_file.py": ("tests/auth/test_keys_file.py", *_KEYS),
    "service/auth/logins.py": (*_LOGINS, *_ACCOUNTS),
    "service/auth/refresh_tokens.py": ("tests/auth/test_refresh_tokens.py", *_LOGINS),
    "service/auth/refusals.py": _ACCOUNTS,
    "service/auth/tokens.py": ("tests/auth/test_tokens.py", "tests/auth/test_verifier.py"),
    "service/auth/verifier.py": ("tests/auth/test_verifier.py", "tests/auth/test_issuers.py"),
    "service/domain/call.py": ("tests/auth/test_signer.py",),
    "service/domain/distribution.py": ("tests/auth/test_keys.py",),
    "service/domain/errors.py": ("tests/convert/test_status.py", "tests/auth/test_attempts.py"),
    "service/domain/times.py": ("tests/auth/test_revocations.py", *_LOGINS),
}


def list_modules(rooms: tuple[str, ...]) -> list[str]:
    """Returns the modules of rooms, as paths from the root."""
    return sorted(
        str(path.relative_to(ROOT))
        for room in rooms
        for path in (ROOT / room).rglob("*.py")
        if path.name != "__init__.py"
    )


def nearest_tests(module: str) -> tuple[str, ...]:
    """Returns the files of the nearest tests: the table's, or those of the module's name, or all of its room."""
    if module in _NEAREST:
        return _NEAREST[module]
    path = Path(module)
    folder = ROOT / "tests" / path.parent.name
    named = folder / f"test_{path.name}"
    files = [named] if named.exists() else sorted(folder.glob("test_*.py"))
    return tuple(str(file.relative_to(ROOT)) for file in files)
