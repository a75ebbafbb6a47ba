"""The Dockerfile: all that it copies goes to the builder, and nothing more than that."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def list_sources() -> list[str]:
    """Lists what the Dockerfile copies out of the checkout, files and folders."""
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copies = [line.split()[1:] for line in lines if line.startswith("COPY ") and "--from=" not in line]
    return [source for words in copies for source in words[:-1]]


def to_pattern(line: str) -> "re.Pattern[str]":
    """A line of .dockerignore as a pattern: it matches a path, and all that is below it."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    text = "".join(parts.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*\*|\*|\?)", line.strip("/")))
    return re.compile(f"{text}(?:/.*)?")


def is_sent(path: str, ignoring: str) -> bool:
    """Whether a file goes to the builder; the last line that matches decides."""
    sent = True
    for line in ignoring.splitlines():
        if line.strip() and not line.startswith("#") and to_pattern(line.removeprefix("!")).fullmatch(path):
            sent = line.startswith("!")
    return sent


def list_files(source: str) -> list[str]:
    """Lists the files of the project under a source, as paths in the checkout."""
    place = ROOT / source
    found = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return [path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts]


def test_all_that_is_copied_passes_dockerignore() -> None:
    ignoring = (ROOT / ".dockerignore").read_text()
    sources = list_sources()
    assert len(sources) >= 6
    for source in sources:
        files = list_files(source)
        assert files, f"{source} is not there"
        assert [path for path in files if not is_sent(path, ignoring)] == []


def test_what_is_not_copied_stays_here() -> None:
    ignoring = (ROOT / ".dockerignore").read_text()
    sent = {path.name for path in ROOT.iterdir() if is_sent(path.name, ignoring)}
    assert sent == {source.split("/")[0] for source in list_sources()}
    for path in (
        ".venv/bin/python",
        ".git/config",
        ".parley/keys.json",
        "clients/go/go.mod",
        "service/__pycache__/a.pyc",
    ):
        assert not is_sent(path, ignoring), path
