"""The embedded databases of `parley serve`: started before the workers, and started again when they end."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from service.host.process_end import End
from service.host.restart_policy import RestartPolicy
from service.settings.start_error import StartError
from storage.embedded import EmbeddedError
from storage.embedded.process import EmbeddedServer


def start_embedded(servers: Sequence[EmbeddedServer], stack: ExitStack, check: Callable[[], None]) -> None:
    """Starts the servers, and waits until they answer; their stop is pushed on the stack, the first one's last.

    Args:
        servers: PostgreSQL first.
        check: called while it waits; raises to end that.

    Raises:
        StartError: one can't be started.
    """
    try:
        for server in servers:
            stack.callback(server.stop)
        for server in reversed(servers):  # Valkey comes up while a first PostgreSQL makes its cluster
            check()
            server.spawn()
        for server in servers:
            server.wait(check=check)
    except EmbeddedError as error:
        raise StartError(str(error)) from None


def keep(server: EmbeddedServer) -> RestartPolicy:
    """Returns what starts a server again when it has ended."""

    def find_end() -> End | None:
        return None if server.is_alive() else End(f"status {server.process.returncode if server.process else None}")

    return RestartPolicy(
        server.name,
        find_end=find_end,
        start=server.restart_if_dead,
        failures=(EmbeddedError,),
        now=time.monotonic(),
    )
