"""The command `parley`, where it begins.

`serve` stays small for as long as it runs, and `health` runs every few seconds, so they are not with the others.
"""

import errno
import os
import sys
import time
from collections.abc import Sequence

# What is wrong with the place that output goes to, which is no fault of ours.
_CANT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main() -> None:
    """Runs the command line; what is wrong is one line on standard error and exit status 1.

    Ctrl-C that comes while modules load is exit status 130, without a traceback.
    """
    try:
        _open_closed_streams()
        _run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.errno not in _CANT_WRITE:
            raise
        where = f" {error.filename}" if error.filename else ""
        sys.exit(f"parley: can't write{where}: {error.strerror}")


def _run(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["serve"]:
        sys.exit(_serve(arguments[1:]))
    if arguments[:1] == ["health"]:
        from service.cli import health

        sys.exit(health.main(arguments[1:]))
    from service.cli.commands import run

    run(arguments)


def _open_closed_streams() -> None:
    """Opens the standard streams that the caller closed; else a lock gets such a number, and logs go into its file."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)  # children take it over
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 # of a number, for good


def _serve(arguments: Sequence[str]) -> int:
    begin = time.monotonic()
    from service.host.file_limit import raise_file_limit
    from service.host.preparer_process import PreparerProcess
    from service.host.roles import WORKER
    from service.host.serving_process import ServingProcess
    from service.host.signals import Signals
    from service.host.structlog_alone import load_structlog

    raise_file_limit()
    with Signals() as signals:
        first = ServingProcess(WORKER, 0)
        first.spawn()
        preparer = PreparerProcess(arguments, signals)
        load_structlog()
        from service.host.supervisor import serve  # only now: the others load what they need meanwhile

        return serve(first, preparer, signals, begin)
