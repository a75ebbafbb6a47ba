"""Runs the nearest tests of each module against each mutant of it, and says which mutants no test noticed.

    python -m tests.mutants.run [--rooms service/domain ...] [--modules service/auth/tokens.py ...] [--jobs 2]

What was found is kept in build/mutants, so that a run that was stopped goes on, and only what changed is run again.
Survivors that are as they should be are in `kept.txt`, with the reason. The exit status is 1 where others survive.
"""

import argparse
import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.forks import Forks
from tests.mutants.mutations import Mutant, list_mutants
from tests.mutants.rooms import ROOMS, ROOT, list_modules, nearest_tests

_RESULTS = ROOT / "build" / "mutants"  # a file a module
_KEPT = Path(__file__).with_name("kept.txt")
# A mutant may loop. Its tests get this many times what they take without it, and this long at least.
_PATIENCE = 4
_MIN_LIMIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Work:
    """A mutant to run; `key` changes with the module, its tests, and the change."""

    module: str
    mutant: Mutant
    key: str


def main() -> int:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.run")
    parser.add_argument("--rooms", nargs="+", default=ROOMS)
    parser.add_argument("--modules", nargs="+", default=[])
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    modules = options.modules or list_modules(tuple(options.rooms))
    works = {module: _list_work(module) for module in modules}
    results = {key: result for module in modules for key, result in _read_results(module).items()}
    pool = [Forks() for _ in range(options.jobs)]
    for module in modules:
        _run_module(module, [work for work in works[module] if work.key not in results], results, pool)
    for forks in pool:
        forks.close()
    return report(works, results, read_kept())


def report(works: dict[str, list[Work]], results: dict[str, str], kept: set[tuple[str, str, str]]) -> int:
    """Prints the share of killed mutants by module, and the survivors; returns the exit status."""
    survivors: list[Work] = []
    all_killed = all_count = 0
    for module, items in works.items():
        lived = [work for work in items if results[work.key] == "survived"]
        new = [work for work in lived if (module, work.mutant.scope, work.mutant.text) not in kept]
        killed = len(items) - len(lived)
        print(
            f"{module:<44} {killed:>4} of {len(items):>4} killed, {len(lived) - len(new):>3} kept, {len(new):>3} live"
        )
        survivors += new
        all_killed, all_count = all_killed + killed, all_count + len(items)
    if all_count:
        print(f"{all_killed} of {all_count} killed ({100 * all_killed / all_count:.1f} %), {len(survivors)} live")
    for work in survivors:
        print(f"  {work.module}:{work.mutant.line} | {work.mutant.scope} | {work.mutant.text}")
    return int(bool(survivors))


def read_kept() -> set[tuple[str, str, str]]:
    """Returns (module, scope, change) of the survivors that have a reason: lines `module | scope | change | reason`."""
    kept = set()
    for line in _KEPT.read_text().splitlines():
        if line and not line.startswith("#"):
            module, scope, rest = (part.strip() for part in line.split(" | ", 2))
            change, _, reason = rest.rpartition(" | ")
            assert reason, f"no reason: {line}"
            kept.add((module, scope, change))
    return kept


def _read_results(module: str) -> dict[str, str]:
    file = _file_of(module)
    found: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    return found


def _file_of(module: str) -> Path:
    return _RESULTS / f"{module.removesuffix('.py').replace('/', '.')}.json"


def _list_work(module: str) -> list[Work]:
    source = (ROOT / module).read_text()
    tests = "".join((ROOT / test).read_text() for test in nearest_tests(module))
    base = hashlib.sha256(f"{source}\0{tests}".encode()).hexdigest()[:16]
    return [Work(module, mutant, f"{module}:{base}:{mutant.number}") for mutant in list_mutants(source)]


def _run_module(module: str, works: list[Work], results: dict[str, str], pool: "list[Forks]") -> None:
    """Runs what is left of a module, and keeps what was found, also when it is stopped."""
    if not works:
        return
    tests = nearest_tests(module)
    begin = time.monotonic()
    if pool[0].run("", tests, 600.0) != "survived":
        raise SystemExit(f"{module}: its tests fail without a mutant: {' '.join(tests)}")
    limit_seconds = max(_MIN_LIMIT_SECONDS, _PATIENCE * (time.monotonic() - begin))
    print(f"{module}: {len(works)} mutants", flush=True)
    left = iter(works)

    def run(forks: Forks) -> None:
        for work in left:
            results[work.key] = forks.run(f"{module}:{work.mutant.number}", tests, limit_seconds)

    try:
        with ThreadPoolExecutor(len(pool)) as threads:
            list(threads.map(run, pool))
    finally:
        if not {work.key for work in works} <= {work.key for work in _list_work(module)}:
            raise SystemExit(f"{module} or its tests changed while they ran; begin again")
        found = {work.key: results[work.key] for work in _list_work(module) if work.key in results}
        _file_of(module).parent.mkdir(parents=True, exist_ok=True)
        _file_of(module).write_text(json.dumps(found, indent=0))


if __name__ == "__main__":
    raise SystemExit(main())
