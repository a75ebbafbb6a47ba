"""SIGHUP: which settings a running server takes over, and the process that reads them anew.

Reading them takes much memory, so a process of its own does it, as at the start (`preparer.py`). Loads little.
"""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from service import logs
from service.host.roles import RELOADER, spawn

# What workers take over; all else needs a restart. The certificate's files count only where there is TLS already.
RELOADABLE = frozenset(
    {
        "auth.attempts_per_minute",
        "auth.attempts_per_minute_per_address",
        "auth.registration",
        "limits.max_streams",
        "limits.max_streams_per_user",
        "log.level",
        "shutdown.delay_seconds",
        "shutdown.drain_seconds",
        "tls.certificate_file",
        "tls.key_file",
    }
)
_LIMIT_SECONDS = 15.0

_log = structlog.get_logger(__name__)


class ReloadError(Exception):
    """The settings can't be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of it.

    Attributes:
        settings: what workers are given from now on, as JSON, secrets in clear.
        changed: the keys that were taken over.
        restart: the keys that changed and need a restart.
        log_level: as of the supervisor's own log.
        stop_seconds: as in `Plan`.
    """

    settings: str
    changed: list[str]
    restart: list[str]
    log_level: str
    stop_seconds: float


class HandedSettings:
    """What workers are given, at their start and when it changes.

    Args:
        arguments: the command line after `parley serve`.
        text: as JSON, secrets in clear.
        stop_seconds: how long their end may take.
    """

    def __init__(self, arguments: Sequence[str], text: str, stop_seconds: float) -> None:
        self._arguments = arguments
        self.text = text
        self.stop_seconds = stop_seconds

    def reload(self) -> None:
        """Reads the settings anew, and says in the log what came of it; wrong ones change nothing."""
        try:
            found = _read(self._arguments, self.text)
        except ReloadError as error:
            _log.error("the settings can't be read; those of before stay in force", error=str(error))
            return
        self.text, self.stop_seconds = found.settings, found.stop_seconds
        logs.set_level(found.log_level)
        _log.info("settings reloaded", changed=", ".join(found.changed))
        if found.restart:
            _log.warning("settings changed that need a restart", settings=", ".join(found.restart))


def _read(arguments: Sequence[str], settings: str) -> Reloaded:
    """Reads the settings anew.

    Args:
        arguments: the command line after `parley serve`.
        settings: those in force.

    Raises:
        ReloadError: those that are there now are wrong; the ones in force stay.
    """
    with spawn(RELOADER, *arguments, output=subprocess.PIPE) as process:
        try:
            output, errors = process.communicate(settings.encode(), timeout=_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(RELOADER.stop_signal)
            raise ReloadError(f"reading them takes longer than {_LIMIT_SECONDS:.0f} s") from None
    if process.returncode:
        raise ReloadError(" ".join(errors.decode(errors="replace").split()).removeprefix("parley: "))
    return Reloaded(**json.loads(output))
