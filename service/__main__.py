"""`python -m service` is the command `parley`, and how `parley serve` starts processes of its own."""

import sys


def main() -> None:
    """Runs what the first argument names."""
    match sys.argv[1:]:
        case ["worker", index, beats, segment, *more]:
            from service.worker.main import main as run_worker

            # A supervisor of 0.1.0 gives no place for settings that change.
            sys.exit(run_worker(int(index), int(beats), int(segment), int(more[0]) if more else None))
        case ["prepare", *arguments]:
            from service.host.structlog_alone import load_structlog

            load_structlog()
            from service.cli.commands import run

            run(["serve", *arguments])
        case ["reload", *arguments]:
            from service.host.structlog_alone import load_structlog

            load_structlog()
            from service.cli.commands import run
            from service.host.reloader import answer

            run(["serve", *arguments], serve_by=answer)
        case _:
            from service.cli.main import main as run_command

            run_command()


if __name__ == "__main__":
    main()
