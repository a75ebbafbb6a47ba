"""`make conformance-figures`: what each client weighs and how fast it sends, as a table for docs/clients.md.

All clients send to one server in one run, by turns; the medians are of these turns. It asserts nothing.
"""

import argparse
import asyncio
import datetime
import os
import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack

from conformance.building import build
from conformance.languages import LANGUAGES, Language
from conformance.runner import Runner, started
from conformance.stage import Stage, open_stage

_TURNS = 3
# Outstanding -> messages in a turn: some seconds of work each.
_LOADS = {1: 500, 100: 5000}
_COMMENTS = ("#", "//", "/*", "*", '"""')


async def _measure(stage: Stage, language: Language, runner: Runner, outstanding: int) -> float:
    """Returns messages a second of one stream."""
    name = f"speed-{language.name}"
    command = {
        "do": "measure",
        "target": stage.main.target,
        "token": stage.token(name),
        "conversation_id": f"{name}:{name}",
        "outstanding": outstanding,
        "count": _LOADS[outstanding],
    }
    answer = await runner.ask(command, limit_seconds=120)
    assert answer["accepted"] == command["count"], answer
    return float(command["count"] / answer["seconds"])


def _example_lines(language: Language) -> int:
    """Lines of the session that people copy that are neither empty nor comments."""
    lines = (language.folder / language.example_file).read_text(encoding="utf-8").splitlines()
    return sum(bool(line.strip()) and not line.strip().startswith(_COMMENTS) for line in lines)


def _package_bytes(language: Language) -> int:
    """What a program takes along of ours: stubs, compiled where that is how they come."""
    files = {file for pattern in language.package for file in language.folder.glob(pattern) if file.is_file()}
    assert files, f"{language.name} has no package"
    return sum(file.stat().st_size for file in files if "__pycache__" not in file.parts)


async def _main(languages: Sequence[Language]) -> None:
    for language in languages:
        if reason := await build(language):
            raise SystemExit(reason)
    rates: dict[tuple[str, int], list[float]] = {}
    async with open_stage() as stage, AsyncExitStack() as stack:
        await stage.make_users([f"speed-{language.name}" for language in languages])
        runners = {
            language.name: await stack.enter_async_context(
                started(language.command, language.folder, language.full_environment())
            )
            for language in languages
        }
        for _ in range(_TURNS):
            for language in languages:
                for outstanding in _LOADS:
                    rate = await _measure(stage, language, runners[language.name], outstanding)
                    rates.setdefault((language.name, outstanding), []).append(rate)
        runtimes = {name: runner.about["runtime"] for name, runner in runners.items()}
    print(f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {os.cpu_count()} cores, medians of {_TURNS} turns\n")
    print("| client | on | lines of the session | package | sends/s, 1 outstanding | 100 outstanding |")
    print("|---|---|---:|---:|---:|---:|")
    for language in languages:
        one, many = (statistics.median(rates[language.name, outstanding]) for outstanding in _LOADS)
        size = f"{_package_bytes(language) / 1000:,.0f} kB"
        row = (language.name, runtimes[language.name], _example_lines(language), size, f"{one:,.0f}", f"{many:,.0f}")
        print(f"| {' | '.join(map(str, row))} |")


def main() -> None:
    """Measures the clients that can run here, or those that are named."""
    parser = argparse.ArgumentParser(prog="make conformance-figures", description=__doc__)
    parser.add_argument("languages", nargs="*", metavar="LANGUAGE")
    wanted = parser.parse_args().languages
    chosen = [language for language in LANGUAGES if language.package and (not wanted or language.name in wanted)]
    for language in chosen:
        if language.missing:
            print(f"{language.name} is left out: {language.missing}")
    asyncio.run(_main([language for language in chosen if not language.missing]))


if __name__ == "__main__":
    main()
