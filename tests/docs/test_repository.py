"""What holds for every file of the project: it stands alone, gives nothing away, and stays readable."""

import ast
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GENERATED = ("clients/python/parley/", "clients/python-betterproto/parley_betterproto/", "docs/api.md")
MAX_LINES = 400
MAX_TEST_LINES = 520  # read test by test; think again before raising it
MAX_ADR_LINES = 60

# Written with blanks, so that this file does not name them.
_REGISTRIES = [
    host.replace(" ", ".") for host in ("pypi org", "pythonhosted org", "npmjs org", "crates io", "proxy golang org")
]
_SECRETS = {
    "a token": re.compile(r"eyJ[\w-]{20,}\.eyJ[\w-]{20,}\.[\w-]{20,}"),
    "a private key": re.compile("-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a service's token": re.compile(r"\b(?:gh[pousr]_\w{30,}|py" r"pi-\w{30,}|AKIA[A-Z0-9]{16})\b"),
    # The newcomer is made by tests/services.
    "a path of a machine": re.compile(r"(?<![\w.~$}/])/(?:work|root|home/(?!newcomer\b)\w+|Users/\w+|mnt/\w+)/[\w.-]"),
}


def list_files() -> Iterator[Path]:
    """Lists the project's files: all that a .gitignore does not leave out."""
    everywhere = {".git", *ignored(ROOT)}
    for folder, folders, files in os.walk(ROOT):
        here = everywhere | ignored(Path(folder))
        folders[:] = [name for name in folders if name not in here and not name.endswith(".egg-info")]
        yield from (Path(folder) / name for name in files if name not in here)


def ignored(folder: Path) -> set[str]:
    """The names that a folder's .gitignore leaves out."""
    path = folder / ".gitignore"
    return {line.strip("/") for line in path.read_text().splitlines()} if path.exists() else set()


def to_name(path: Path) -> str:
    """The path as it is in the project."""
    return path.relative_to(ROOT).as_posix()


def read(path: Path) -> str:
    """The text of a file; what is no text has none."""
    return path.read_text(encoding="utf-8", errors="ignore")


def test_files_give_nothing_away() -> None:
    found = [
        f"{to_name(path)} has {what}: {match[0][:60]}"
        for path in list_files()
        for what, pattern in _SECRETS.items()
        for match in pattern.finditer(read(path))
    ]
    assert found == []


def test_files_name_no_package_registry() -> None:
    assert [(to_name(path), host) for path in list_files() for host in _REGISTRIES if host in read(path)] == []


def test_files_stay_readable() -> None:
    long = {}
    for path in list_files():
        name = to_name(path)
        if path.suffix not in (".py", ".sql", ".proto", ".sh", ".md", ".lua") or name.startswith(GENERATED):
            continue
        count = read(path).count("\n")
        if path.stem == "session" and path.parent.name == "examples":  # one file by intent: people copy it
            continue
        if count > (MAX_TEST_LINES if name.startswith("tests/") else MAX_LINES):
            long[name] = count
    assert long == {}


@pytest.mark.parametrize("folder", ["service", "storage", "bench/replay", "clients/python/examples"])
def test_every_module_says_what_lives_in_it(folder: str) -> None:
    silent = [
        to_name(path) for path in (ROOT / folder).rglob("*.py") if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_scripts_import_no_tests_and_tests_import_no_scripts() -> None:
    imports = {"scripts": r"^\s*(?:from|import) tests\b", "tests": r"^\s*(?:from|import) scripts\b"}
    found = [
        to_name(path)
        for folder, pattern in imports.items()
        for path in (ROOT / folder).rglob("*.py")
        if re.search(pattern, read(path), re.MULTILINE)
    ]
    assert found == []


def test_each_release_has_each_group_of_changes_once() -> None:
    releases = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]
    assert len(releases) > 1
    for release in releases:
        groups = re.findall(r"^### (.+)$", release, re.MULTILINE)
        assert groups or release.startswith("[Unreleased]")
        assert len(groups) == len(set(groups)), "a merge has kept both sides"


def test_decisions_are_numbered_and_short() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("0*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        lines = page.read_text().splitlines()
        assert len(lines) <= MAX_ADR_LINES, page.name
        assert lines[0].startswith(f"# {int(page.name[:4])}. "), page.name
        headings = [line for line in lines if line.startswith("## ")]
        assert headings == ["## Context", "## Decision", "## Consequences", "## Rejected", "## Held by"], page.name


def test_index_of_decisions_has_each_with_its_title_and_a_status() -> None:
    folder = ROOT / "docs" / "adr"
    pages = sorted(folder.glob("0*.md"))
    rows = re.findall(r"^\| (\d+) \| \[(.+)\]\((.+)\) \| (.+) \|$", (folder / "README.md").read_text(), re.MULTILINE)
    titles = {page.name: page.read_text().partition("\n")[0].partition(". ")[2] for page in pages}
    assert [(int(number), title, name) for number, title, name, _ in rows] == [
        (int(page.name[:4]), titles[page.name], page.name) for page in pages
    ]
    for number, _, _, status in rows:
        replaced = re.fullmatch(r"in force|replaced by (\d+)", status)
        assert replaced, f"the status of {number}"
        assert replaced[1] is None or int(number) < int(replaced[1]) <= len(pages)


def test_hooks_of_a_commit_check_what_lint_checks() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert lint
    checks = {line.strip().replace("$(BIN)", ".venv/bin").removesuffix(" .") for line in lint[1].splitlines()}
    assert checks <= {hook["entry"] for hook in hooks}
    for hook in hooks:
        assert (Path(sys.executable).parent / Path(hook["entry"].split()[0]).name).is_file(), hook["entry"]


def test_workflow_runs_what_ci_runs_with_all_history() -> None:
    (job,) = yaml.safe_load((ROOT / ".github/workflows/check.yml").read_text())["jobs"].values()
    assert ".ci/run" in job["steps"][-1]["run"]
    assert job["steps"][0]["with"]["fetch-depth"] == 0, "the contract is compared with the last release"
    supported = re.findall(r"Python (3\.\d+)", (ROOT / "README.md").read_text())
    assert min(supported, key=lambda version: int(version[2:])) in job["steps"][1]["with"]["python-version"]


def test_forms_for_issues_ask_for_what_is_needed() -> None:
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml"):
        form = yaml.safe_load(path.read_text())
        assert {"name", "description", "body"} <= set(form), path.name
        assert any(item.get("validations", {}).get("required") for item in form["body"]), path.name


def test_scripts_can_be_run_and_say_what_they_do() -> None:
    for path in (ROOT / "scripts").glob("*.sh"):
        first, second, *_ = path.read_text().splitlines()
        assert first == "#!/bin/sh", path.name
        assert second.startswith("# "), path.name
        assert os.access(path, os.X_OK), path.name


def test_every_target_of_make_is_in_its_help() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: (\S+)$", makefile, re.MULTILINE)
    helped = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    assert phony == helped
    assert {"help", "run", "test", "check", "generate", "replay", "format"} <= set(helped)
