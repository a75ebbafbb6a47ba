"""How many files this machine lets a process have open: each connection is one."""

import resource

from bench.errors import BenchError

_SPARE = 200
"""For all that is no connection: libraries, pipes, PostgreSQL's and Valkey's own."""


def allow(connection_count: int, *, can_share: bool) -> None:
    """Raises the limit on open files as far as needed, for this process and those that it starts.

    Args:
        can_share: whether the scenario lets streams share connections, if it is told to.

    Raises:
        BenchError: the hard limit is too low.
    """
    needed = connection_count + _SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        instead = "let streams share connections (--streams-per-connection)" if can_share else "ask for fewer"
        raise BenchError(
            f"{connection_count:,} connections need {needed:,} open files, and the limit is {hard:,}: raise it "
            f"(ulimit -n {needed}), or {instead}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
