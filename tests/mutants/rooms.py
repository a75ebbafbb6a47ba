"""Which tests are nearest to a module. Those of its own name are, unless the table below names others."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Rooms whose mutants are made.
ROOMS = ("service/domain", "service/auth", "service/messages", "service/consumers", "service/delivery")

_ACCOUNTS = ("tests/auth/test_accounts.py",)
_LOGINS = ("tests/auth/test_logins.py",)
_KEYS = ("tests/auth/test_keys.py", "tests/auth/test_key_rotation.py")
_STREAMS = (
    "tests/delivery/test_own_messages.py",
    "tests/delivery/test_ownership.py",
    "tests/delivery/test_coming_back.py",
)
_MANAGER = ("tests/delivery/test_subscription_manager.py",)
_WRITER = ("tests/messages/test_writer.py", "tests/messages/test_service.py")
_LANES = (*_WRITER, "tests/messages/test_database_trouble.py")
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
    "service/delivery/admission.py": _MANAGER,
    "service/delivery/attach.py": ("tests/delivery/test_attach.py", *_MANAGER),
    "service/delivery/bus_decoder.py": ("tests/delivery/test_bus_messages.py",),
    "service/delivery/changed_memberships.py": ("tests/worker/test_bus_dispatch.py", "tests/worker/test_peers.py"),
    "service/delivery/channel_opener.py": (*_MANAGER, *_STREAMS),
    "service/delivery/device_modes.py": _MANAGER,
    "service/delivery/fanout.py": ("tests/delivery/test_bus_messages.py", *_STREAMS),
    "service/delivery/hub.py": ("tests/delivery/test_hub.py", "tests/delivery/test_hub_times.py", *_STREAMS),
    "service/delivery/replay.py": ("tests/delivery/test_window_replay.py", *_STREAMS),
    "service/delivery/subscription_manager.py": (*_MANAGER, "tests/delivery/test_epochs.py", *_STREAMS),
    "service/delivery/typing_signals.py": ("tests/rpc/test_chat_frames.py",),
    "service/domain/call.py": ("tests/auth/test_signer.py",),
    "service/domain/distribution.py": ("tests/auth/test_keys.py",),
    "service/domain/errors.py": ("tests/convert/test_status.py", "tests/auth/test_attempts.py"),
    "service/domain/times.py": ("tests/auth/test_revocations.py", *_LOGINS),
    "service/messages/blocked_lanes.py": _LANES,
    "service/messages/counts.py": _WRITER,
    "service/messages/lanes.py": _LANES,
    "service/messages/outcomes.py": _WRITER,
    "service/messages/settlements.py": _WRITER,
    "service/messages/submission.py": ("tests/messages/test_lane_queue.py", *_WRITER),
    "service/messages/tickets.py": _WRITER,
    "service/messages/writer.py": _LANES,
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
