"""The command: `python -m bench.replay [options] FILES`."""

import argparse
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop
from grpc import aio
from rich.console import Console

from bench import accounts
from bench.private_server import ServerFailed, ServerPlace, private_server
from bench.replay import irc, names, plan, report, runner, stage, usage, verdict
from bench.replay.stream import Refused

_DESCRIPTION = """\
Replays IRC logs as chats: each file a group, each nickname a user with a Chat stream of its own, each line a send.
In the end it compares what every device received and what Pull gives with the files, and fails on any difference.
"""
_EPILOG = (
    f"How nicknames become user names:\n\n{names.__doc__.split('Pure.', 1)[1].strip() if names.__doc__ else ''}\n\n"
    "A nickname change is the old user leaving and the new one being added. With --unordered nobody comes or goes."
)


class NothingToReplay(Exception):
    """The files are no logs, or silent ones."""


_FAULTS = (NothingToReplay, ServerFailed, accounts.CommandFailed, Refused, aio.AioRpcError, OSError)
"""What ends a replay with a line instead of a traceback; TimeoutError and ConnectionError are OSErrors."""


def main() -> None:
    """Runs the command; exits with 0 when all is the same, 1 on differences, 2 when it could not be played."""
    options = _parse_arguments(sys.argv[1:])
    console = Console()
    try:
        findings = _run(options, console)
    except KeyboardInterrupt:
        sys.exit(130)
    report.print_findings(console, findings)
    if findings:
        console.print("[red]differences were found[/red]")
        sys.exit(1)
    console.print("[green]same texts, same order, nothing twice, nothing missing[/green]")


def _run(options: argparse.Namespace, console: Console) -> list[verdict.Finding]:
    try:
        return uvloop.run(_replay(options, console))
    except* _FAULTS as group:
        for error in _leaves(group):
            console.print(f"could not replay: {_describe(error)}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


async def _replay(options: argparse.Namespace, console: Console) -> list[verdict.Finding]:
    plans = _read_plans(options.files, unordered=options.unordered)
    if not any(each.speakers for each in plans):
        raise NothingToReplay("there are no messages in these files")
    users = {name for each in plans for name in each.usernames} | {names.HOST, names.LISTENER}
    async with _server(options, console) as place:
        console.print(f"{len(plans)} files, {len(users):,} users, server at {place.target}", highlight=False)
        await accounts.create_users(sorted(users), place.environment)
        speaking = {name for each in plans for name in each.speakers}
        leaving = {step.actor for each in plans for step in each.steps if isinstance(step, plan.Leave)}
        tokens = await accounts.mint_tokens(
            sorted(speaking | leaving | {names.HOST, names.LISTENER}), place.environment
        )
        timings = runner.Timings()
        async with stage.open_stage(
            place.target,
            tokens,
            plans,
            device_count=options.devices,
            reconnect_every=options.reconnect_every,
            speakers_stay=options.speakers == "stay" if options.speakers else options.unordered,
            on_arrival=timings.note_arrival,
        ) as built:
            return await _play(options, console, place, built, timings, user_count=len(users))


async def _play(
    options: argparse.Namespace,
    console: Console,
    place: ServerPlace,
    built: stage.Stage,
    timings: runner.Timings,
    *,
    user_count: int,
) -> list[verdict.Finding]:
    """Plays, prints the figures and returns what is wrong."""
    plans = [group.plan for group in built.groups]
    pace = runner.Pace(options.unordered, options.in_flight, options.speed, options.rate)
    with report.make_progress(console) as progress:
        bar = progress.add_task("replaying", total=sum(len(each.steps) for each in plans))
        cpu_before = usage.read_cpu_seconds(place.pid, place.data_dir)
        started = time.monotonic()
        player = runner.Runner(built, pace, timings, lambda: progress.advance(bar))
        send_seconds = await player.play()
        expectations = [verdict.expect(group, unordered=options.unordered) for group in built.groups]
        await runner.wait_for_arrival(verdict.list_due(built, expectations))
        total_seconds = time.monotonic() - started
        cpu_after = usage.read_cpu_seconds(place.pid, place.data_dir)
    findings = await verdict.judge(built, expectations)
    streams = [*built.speakers.streams.values(), *(listener.stream for listener in built.listeners)]
    figures = report.Figures(
        files=len(plans),
        users=user_count,
        streams=len(streams),
        messages=sum(len(group.accepted) for group in built.groups),
        deliveries=sum(stream.received_count for stream in streams),
        reconnects=sum(stream.reconnect_count for stream in streams),
        send_seconds=send_seconds,
        total_seconds=total_seconds,
        delays=timings.delays,
        cpu=cpu_after.since(cpu_before) if cpu_after and cpu_before else None,
    )
    console.print(report.make_table(figures, [each.counts for each in plans]), highlight=False)
    return findings


@contextlib.asynccontextmanager
async def _server(options: argparse.Namespace, console: Console) -> AsyncIterator[ServerPlace]:
    """The server that was named, or one of our own."""
    if options.target:
        environment = {"PARLEY_DATA_DIR": str(options.data_dir)} if options.data_dir else {}
        yield ServerPlace(options.target, environment, options.data_dir, options.server_pid)
        return
    console.print("starting a server of its own ...")
    async with private_server(options.workers) as place:
        yield place


def _read_plans(files: list[Path], *, unordered: bool) -> list[plan.Plan]:
    logs = [irc.parse_log(irc.decode_log(path.read_bytes())) for path in files]
    usernames = names.make_names(nickname for log in logs for nickname in plan.nicknames_of(log))
    make = plan.make_unordered_plan if unordered else plan.make_plan
    return [make(path.name, log, usernames) for path, log in zip(files, logs, strict=True)]


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for child in error.exceptions for leaf in _leaves(child)]
    return [error]


def _describe(error: BaseException) -> str:
    if isinstance(error, aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__


def _parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="replay", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="an IRC log; it becomes a group")
    add("--unordered", action="store_true", help="send all without waiting for answers, then compare with the seqs")
    add("--in-flight", type=_positive, default=5000, help="unordered sends that may wait for answers (%(default)s)")
    add(
        "--speed",
        type=_not_negative,
        default=0.0,
        help="times as fast as the file's clock; 0: no clock (%(default)s)",
    )
    add("--rate", type=_not_negative, default=0.0, help="messages a second at most; 0: no limit (%(default)s)")
    add("--devices", type=_positive, default=2, help="devices of the listening user (%(default)s)")
    add(
        "--reconnect-every",
        type=int,
        default=1000,
        help="entries after which the last device breaks off and resumes; 0: never (%(default)s)",
    )
    add(
        "--speakers",
        choices=("stay", "come-and-go"),
        help="whether speakers are online all the time, or from their first line to their last"
        " (come-and-go; with --unordered: stay)",
    )
    add("--target", help="host:port of a running server; not given: a private one is started, and stopped in the end")
    add("--data-dir", type=Path, help="the running server's data directory, to make users and tokens")
    add("--server-pid", type=int, help="the running server's process, to read its CPU time")
    add("--workers", type=_positive, default=1, help="worker processes of the private server (%(default)s)")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must not be negative")
    return value


if __name__ == "__main__":
    main()
