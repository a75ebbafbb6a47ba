"""`python -m service` is the command `parley`, and how `parley serve` starts processes of its own."""

import sys


def _main() -> None:
    match sys.argv[1:]:
        case ["worker", index, beats, page]:
            from service import worker

            sys.exit(worker.main(int(index), int(beats), int(page)))
        case ["prepare", *arguments]:
            from service.structlog_alone import load_structlog

            load_structlog()
            from service.cli_commands import run

            run(["serve", *arguments])
        case _:
            from service.cli import main

            main()


if __name__ == "__main__":
    _main()
