"""The preparation of `parley serve` as the supervisor sees it: a child that answers twice, in lines of JSON.

First it says what there is to hold and to start (`Plan`); told where that is, it says what workers are given
(`Prepared`). What it can't do it says on standard error itself. What it does is in `preparer.py`. Imports little.
"""

import contextlib
import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service.host.plan import Plan
from service.host.roles import PREPARER, spawn
from service.host.signals import Signals
from service.settings.start_error import StartError


class PreparationFailed(Exception):
    """The preparation has ended early, and has said why, or what it was asked for instead (`--help`)."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Prepared:
    """What comes of the preparation.

    Attributes:
        settings: what each worker is given, as JSON, secrets in clear.
        screen: what the terminal shows when the server is ready.
    """

    settings: str
    screen: str


class PreparerProcess:
    """The child; started here.

    Args:
        arguments: the command line after `parley serve`.
        signals: a signal to stop ends any wait, with StopRequested.
    """

    def __init__(self, arguments: Sequence[str], signals: Signals) -> None:
        self.arguments = arguments
        self._signals = signals
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = spawn(PREPARER, *arguments, stdin=theirs.fileno())

    def wait_for_plan(self) -> Plan:
        """Returns its first answer.

        Raises:
            PreparationFailed: the settings are wrong, or the command line is.
        """
        return Plan(**self._receive())

    def finish(self, *, listen: str, metrics_listen: str, database_url: str | None, redis_url: str | None) -> Prepared:
        """Says where things are, and returns its second answer, which is its last.

        Args:
            listen: with the port that it has, as `metrics_listen`.
            database_url: of what was started here; None: the one in the settings, as `redis_url`.

        Raises:
            PreparationFailed: the keys or the database can't be used.
        """
        found = {
            "listen": listen,
            "metrics_listen": metrics_listen,
            "database_url": database_url,
            "redis_url": redis_url,
        }
        with contextlib.suppress(BrokenPipeError):  # it has ended, as is seen now
            self._socket.sendall(json.dumps(found).encode() + b"\n")
        return Prepared(**self._receive())

    def discard(self) -> None:
        """Kills the process if it still runs, and waits for its end."""
        self._socket.close()
        self._process.send_signal(PREPARER.stop_signal)
        self._process.wait()

    def _receive(self) -> Any:
        received = bytearray()
        while not received.endswith(b"\n"):
            self._signals.wait_readable(self._socket.fileno())
            chunk = self._socket.recv(65_536)
            if not chunk:
                status = self._process.wait()
                if status < 0:
                    raise StartError(f"the preparation was killed by signal {-status}")
                raise PreparationFailed(status)
            received += chunk
        return json.loads(received)
