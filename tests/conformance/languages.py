"""The runners: what each needs, how it is built and started, and why one is left out."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "clients"


@dataclass(frozen=True, slots=True)
class Language:
    """A runner.

    Attributes:
        name: as in `make conformance LANGUAGE=name`, and the runner's folder in clients/ unless `folder` says another.
        command: what starts it, in its folder.
        build: what builds it first, in its folder; each is repeatable and does nothing when nothing changed.
        tools: programs that must be on PATH.
        left_out: scenarios that are not for it -> why.
        is_quick: built soon enough to be part of `make check`.
        environment: beside what is set.
    """

    name: str
    command: Sequence[str]
    build: Sequence[Sequence[str]] = ()
    tools: Sequence[str] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    is_quick: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where it is."""
        return CLIENTS / self.name

    @property
    def missing(self) -> str:
        """Why it can't run here; empty when it can."""
        absent = [tool for tool in self.tools if shutil.which(tool) is None]
        return f"{' and '.join(absent)} not on PATH" if absent else ""

    def full_environment(self) -> dict[str, str]:
        """The environment of its programs: no proxy may come between, and no setting of ours."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PARLEY_") and not name.lower().endswith("_proxy")
        }
        return kept | self.environment


LANGUAGES: tuple[Language, ...] = (
    Language("python", (sys.executable, "-m", "conformance"), is_quick=True, environment={"PYTHONPATH": "."}),
    Language(
        "python-betterproto", (sys.executable, "-m", "conformance"), is_quick=True, environment={"PYTHONPATH": "."}
    ),
    Language(
        "grpcurl",
        (sys.executable, "-m", "conformance"),
        tools=("grpcurl",),
        is_quick=True,
        left_out={
            "newer_client": "it writes what reflection tells it, so it is never newer than the server",
            "newer_server": "that one has no reflection",
            **dict.fromkeys(
                ("authenticate", "resume", "shutdown", "stream_limits", "stream_tokens", "too_large"),
                "it tells of the end of a stream only when its own input has ended",
            ),
        },
    ),
)
