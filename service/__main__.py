"""`python -m service` is the command `parley`."""

import sys


def _main() -> None:
    if sys.argv[1:2] == ["worker"] and len(sys.argv) == 5:  # the supervisor's own call: loads no command line
        from service import worker

        sys.exit(worker.main(*map(int, sys.argv[2:])))
    from service.cli import main

    main()


if __name__ == "__main__":
    _main()
