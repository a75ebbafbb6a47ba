"""The command `parley`, where it begins: `serve` stays small for as long as it runs, so it is not with the others."""

import sys


def main() -> None:
    """Runs the command line; what is wrong is one line on standard error and exit status 1."""
    if sys.argv[1:2] == ["serve"]:
        from service.left_out import leave_out_rich

        leave_out_rich()
        from service.supervisor import serve

        sys.exit(serve(sys.argv[2:]))
    from service.cli_commands import run

    run(sys.argv[1:])
