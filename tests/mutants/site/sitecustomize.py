"""Python imports this at its start, in each process of a run whose PYTHONPATH has this folder.

With PARLEY_MUTANT=FILE:NUMBER the module of that file is loaded with that change, in servers that tests start, too.
"""

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType

_ROOT = Path(__file__).resolve().parents[3]


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, number: int) -> None:
        super().__init__(name, path)
        self._number = number

    def get_code(self, fullname: str) -> CodeType:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        try:
            from mutations import mutate
        finally:
            del sys.path[0]
        return compile(mutate(Path(self.path).read_text(), self._number), self.path, "exec")


class _Finder(MetaPathFinder):
    def __init__(self, path: str, number: int) -> None:
        self._path = str(_ROOT / path)
        self._name = path.removesuffix(".py").replace("/", ".")
        self._number = number

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        return spec_from_file_location(fullname, self._path, loader=_Loader(fullname, self._path, self._number))


def load_mutant(mutant: str) -> None:
    """Has the module be loaded with the change from now on; `mutant` is FILE:NUMBER."""
    file, _, number = mutant.rpartition(":")
    sys.meta_path.insert(0, _Finder(file, int(number)))


if _mutant := os.environ.get("PARLEY_MUTANT"):
    load_mutant(_mutant)
