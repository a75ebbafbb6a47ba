"""`make conformance`: plays all scenarios on all runners, prints a table, and fails on any difference.

Arguments: names of languages (none: all), --quick for those that are built soon, or --release for the last release's
client. A language whose tools are absent is left out with a reason; with CI set in the environment that is a failure.
"""

import argparse
import asyncio
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import Sequence

from conformance.building import build
from conformance.example import run_example
from conformance.languages import LANGUAGES, Language
from conformance.operator import Operator
from conformance.play import Play, StepFailed
from conformance.release import released
from conformance.report import FAILED, LEFT_OUT, PASSED, SKIPPED, Result, table
from conformance.runner import RunnerFailed, started
from conformance.scenario import Scenario, load_scenarios
from conformance.stage import Stage, open_stage
from tests.support.proxy import open_proxy

_AT_ONCE = 2
# The row of the table for the program that people copy.
_EXAMPLE = "example"


def _real_names(scenario: Scenario, run: str) -> dict[str, str]:
    return {user: f"{user}-{run}-{secrets.token_hex(3)}" for user in scenario.users}


async def _play(stage: Stage, language: Language, scenarios: Sequence[Scenario], result: Result) -> None:
    """Plays all scenarios on one runner, one after the other."""
    casts = [(scenario, _real_names(scenario, secrets.token_hex(2))) for scenario in scenarios]
    names = [name for _, cast in casts for name in cast.values()]
    await stage.make_users(names)
    tokens = {name: stage.token(name) for name in names}
    command, folder, environment = language.command, language.folder, language.playing_environment()
    async with open_proxy(stage.main.target) as proxy, started(command, folder, environment) as runner:
        result.runtime = f"{runner.about['version']} on {runner.about['runtime']}".removeprefix(" on ")
        for scenario, cast in casts:
            if scenario.needs_session and not language.has_session:
                result.outcomes[scenario.name] = LEFT_OUT
                result.reasons[scenario.name] = "it has no session"
                continue
            if scenario.name in language.left_out:
                result.outcomes[scenario.name] = LEFT_OUT
                result.reasons[scenario.name] = language.left_out[scenario.name]
                continue
            try:
                async with contextlib.AsyncExitStack() as stack:
                    if scenario.uses("strict"):
                        await stack.enter_async_context(stage.strict_turn)
                    wire = await stack.enter_async_context(open_proxy(stage.main.target))
                    operator = Operator(stage, proxy, wire)
                    await _play_one(Play(runner, operator, cast, tokens), operator, scenario)
                result.outcomes[scenario.name] = PASSED
            except StepFailed as error:
                result.outcomes[scenario.name] = FAILED
                result.reasons[scenario.name] = str(error)
        if language.example:
            reason = await run_example(stage, language, proxy.target)
            result.outcomes[_EXAMPLE] = FAILED if reason else PASSED
            result.reasons |= {_EXAMPLE: reason} if reason else {}
        else:
            result.outcomes[_EXAMPLE] = LEFT_OUT


async def _play_one(play: Play, operator: Operator, scenario: Scenario) -> None:
    try:
        await play.run(scenario)
    finally:
        try:
            await play.close()
        finally:
            await operator.close()


async def _run_language(stage: Stage, language: Language, scenarios: Sequence[Scenario]) -> Result:
    result = Result(language.name)
    if reason := language.missing:
        result.outcomes = dict.fromkeys((scenario.name for scenario in scenarios), SKIPPED)
        result.reasons[""] = reason
        return result
    if reason := await build(language):
        result.outcomes = dict.fromkeys((scenario.name for scenario in scenarios), FAILED)
        result.reasons[""] = reason
        return result
    try:
        await _play(stage, language, scenarios, result)
    except RunnerFailed as error:
        result.outcomes = dict.fromkeys((scenario.name for scenario in scenarios), FAILED)
        result.reasons[""] = str(error)
    return result


async def _main(languages: Sequence[Language], scenarios: Sequence[Scenario]) -> int:
    turns = asyncio.Semaphore(_AT_ONCE)
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C does: what was started is stopped, and its data go
        asyncio.get_running_loop().add_signal_handler(number, lambda: task.cancelling() or task.cancel())

    async with open_stage() as stage:

        async def run(language: Language) -> Result:
            async with turns:
                return await _run_language(stage, language, scenarios)

        results = await asyncio.gather(*map(run, languages))
    print("\n".join(table(results, [*(scenario.name for scenario in scenarios), _EXAMPLE])))
    nothing_may_be_skipped = bool(os.environ.get("CI"))
    bad = sum(result.count(FAILED) + nothing_may_be_skipped * result.count(SKIPPED) for result in results)
    return 1 if bad else 0


def main() -> None:
    """Runs the suite."""
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("languages", nargs="*", metavar="LANGUAGE")
    parser.add_argument("--quick", action="store_true", help="only the languages that are built soon")
    parser.add_argument("--release", action="store_true", help="the last release's Python client, with its scenarios")
    parser.add_argument("--scenario", action="append", help="only this one; may be given several times")
    arguments = parser.parse_args()
    known = {language.name: language for language in LANGUAGES}
    if unknown := set(arguments.languages) - set(known):
        parser.error(f"there is no runner for {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if arguments.release:
        release = released()
        if release is None:
            print("There is no release yet, so no client of one.")
            return
        sys.exit(asyncio.run(_main([release[0]], load_scenarios(release[1]))))
    chosen = [known[name] for name in arguments.languages] or list(LANGUAGES)
    chosen = [language for language in chosen if language.is_quick or not arguments.quick]
    scenarios = [item for item in load_scenarios() if not arguments.scenario or item.name in arguments.scenario]
    if not scenarios:
        parser.error("there is no such scenario")
    sys.exit(asyncio.run(_main(chosen, scenarios)))


if __name__ == "__main__":
    main()
