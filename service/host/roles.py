"""The kinds of processes that `parley serve` starts by exec: a row a role. Loads little: the supervisor has it early.

A process that serves (`serving_process.py`) is started again when it ends; its row and a branch in
`service/__main__.py` are all that another kind of them needs. A helper runs once, when it is needed. The embedded
databases are other people's programs (`embedded.py`).
"""

import signal
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass

from service.host.plan import Plan
from storage.embedded.children import die_with_parent

# -P: a folder named "service" where the operator stands must not be taken for ours.
PROGRAM: tuple[str, ...] = (sys.executable, "-P", "-m", "service")


@dataclass(frozen=True, slots=True)
class Role:
    """A kind of process.

    Attributes:
        name: the first argument of the process. Processes that serve are named by it and their index, as "worker 0".
        handed: what the process is handed; its standard input. No secret is in its arguments or environment.
        stop_signal: what asks the process to end.
        orphan_signal: what the kernel sends the process when the supervisor has ended (Linux alone).
        hasty_stop_signal: what asks a process that serves to end without a delay; None: it has no delay.
        count: how many processes serve; None: it is a helper.
    """

    name: str
    handed: str
    stop_signal: signal.Signals
    orphan_signal: signal.Signals
    hasty_stop_signal: signal.Signals | None = None
    count: Callable[[Plan], int] | None = None


WORKER = Role(
    "worker",
    handed="the settings as JSON, to the end of its input; at SIGHUP those that changed, in a file that it has open",
    stop_signal=signal.SIGTERM,
    orphan_signal=signal.SIGTERM,
    hasty_stop_signal=signal.SIGINT,
    count=lambda plan: plan.workers,
)
PREPARER = Role(
    "prepare",
    handed="a socket: it says the plan, is told where things are, and says the settings (`preparer_process.py`)",
    stop_signal=signal.SIGKILL,
    orphan_signal=signal.SIGKILL,
)
RELOADER = Role(
    "reload",
    handed="the settings in force as JSON, to the end of its input (`reloading.py`)",
    stop_signal=signal.SIGKILL,
    orphan_signal=signal.SIGKILL,
)

# In the order in which they are started.
SERVING = (WORKER,)


def spawn(
    role: Role,
    *arguments: object,
    stdin: int = subprocess.PIPE,
    output: int | None = None,
    pass_fds: Collection[int] = (),
) -> "subprocess.Popen[bytes]":
    """Starts a process of a role.

    Args:
        arguments: those after the role's name.
        stdin: what the process is handed, a file descriptor; by default a pipe.
        output: its standard output and standard error, as subprocess has it; None: the supervisor's own.
        pass_fds: further file descriptors that stay open in it.
    """
    return subprocess.Popen(  # noqa: S603 # our own command
        [*PROGRAM, role.name, *(str(argument) for argument in arguments)],
        stdin=stdin,
        stdout=output,
        stderr=output,
        pass_fds=pass_fds,
        start_new_session=True,  # Ctrl-C in the terminal is for the supervisor alone
        preexec_fn=die_with_parent(role.orphan_signal),
    )
