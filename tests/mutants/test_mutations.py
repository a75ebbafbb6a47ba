"""The changes themselves, and that a changed module is what a process loads."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.mutations import list_mutants, mutate
from tests.mutants.rooms import ROOMS, ROOT, list_modules, nearest_tests
from tests.mutants.run import read_kept


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("a < b", ["a <= b", "a >= b"]),
        ("a == b", ["a != b"]),
        ("a is None", ["a is not None"]),
        ("a in b", ["a not in b"]),
        ("a and b", ["a or b"]),
        ("not a", ["a"]),
        ("a + b", ["a - b"]),
        ("x = 1", ["x = 2"]),
        ("x = 5", ["x = 6", "x = 4"]),
        ("x = 1.5", ["x = 2.5"]),
        ("x = True", ["x = False"]),
        ("x = 'text'", []),
        ("x: Literal[1] = y", []),
        ("f(a)", ["pass"]),
        ("a.b = c", ["pass"]),
        ("a += b", ["pass"]),
        ("raise a", ["pass"]),
        ("assert a < b", []),
        ("if a:\n    b", ["if not a:\n    b"]),
        ("def f():\n    'doc'\n    return a", ['def f():\n    """doc"""\n    return None']),
        ("def f():\n    return None", []),
        ("@d(1)\ndef f():\n    return", []),
        ("for a in b:\n    break", ["for a in b:\n    continue"]),
    ],
)
def test_each_change_is_made_alone(source: str, changed: list[str]) -> None:
    mutants = list_mutants(source)
    assert [ast.unparse(mutate(source, mutant.number)) for mutant in mutants] == changed


def test_change_says_where_it_is() -> None:
    (mutant,) = list_mutants("class A:\n    def f(self):\n        return self.g\n")
    assert (mutant.line, mutant.scope, mutant.text) == (3, "A.f", "return self.g  ->  return None")


def test_process_loads_the_changed_module() -> None:
    module = "service/domain/times.py"
    mutant = next(each for each in list_mutants((ROOT / module).read_text()) if each.scope == "to_micros")
    code = "from service.domain.times import to_micros; print(to_micros(1))"

    def run(**variables: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).with_name("site")), **variables}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert run() == "1000000"
    assert run(PARLEY_MUTANT=f"{module}:{mutant.number}") == "None"


def test_each_module_of_the_rooms_has_nearest_tests() -> None:
    for module in list_modules(ROOMS):
        assert nearest_tests(module)
        for test in nearest_tests(module):
            assert (ROOT / test).exists(), test


def test_what_is_kept_is_still_a_mutant() -> None:
    """A change of the code takes its reasons with it."""
    for module, scope, change in read_kept():
        found = {(mutant.scope, mutant.text) for mutant in list_mutants((ROOT / module).read_text())}
        assert (scope, change) in found, f"{module} | {scope} | {change}"
