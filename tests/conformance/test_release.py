"""Which commit the last release is, for the gates that hold its contract and its client."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.languages import ROOT
from conformance.release import scenarios_of


@pytest.fixture
def git(tmp_path: Path) -> Callable[..., str]:
    """A repository of its own, with the script in it."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "last_release.sh", tmp_path / "scripts")

    def run(*arguments: str) -> str:
        settings = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.com", "-c", "tag.gpgSign=false")
        command = ["git", *settings, *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    run("init", "--quiet")
    return run


@pytest.fixture
def commit(git: Callable[..., str], tmp_path: Path) -> Callable[..., str]:
    def make(*versions: str) -> str:
        """Commits a CHANGELOG with these versions, the newest first; gives the commit."""
        write(tmp_path, *versions)
        git("add", ".")
        git("commit", "--quiet", "--allow-empty", "--message", "versions")
        return git("rev-parse", "HEAD")

    return make


def write(folder: Path, *versions: str) -> None:
    headings = "".join(f"## [{version}] - 2026-12-01\n\n- Something.\n\n" for version in versions)
    (folder / "CHANGELOG.md").write_text(f"# Changelog\n\n## [Unreleased]\n\n{headings}")


def last_release(folder: Path) -> str:
    done = subprocess.run(["scripts/last_release.sh"], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_before_the_first_release_there_is_none(tmp_path: Path, commit: Callable[..., str]) -> None:
    commit()
    assert last_release(tmp_path) == ""
    write(tmp_path, "0.1.0")
    assert last_release(tmp_path) == ""


@pytest.mark.parametrize("has_tags", [True, False])
def test_a_release_is_held_against_the_one_before_and_the_first_against_itself(
    tmp_path: Path, git: Callable[..., str], commit: Callable[..., str], *, has_tags: bool
) -> None:
    commit()
    first = commit("0.1.0")
    if has_tags:
        git("tag", "v0.1.0")
    assert last_release(tmp_path) == first
    commit("0.1.0")
    write(tmp_path, "0.2.0", "0.1.0")
    assert last_release(tmp_path) == first
    second = commit("0.2.0", "0.1.0")
    if has_tags:
        git("tag", "v0.2.0")
    assert last_release(tmp_path) == first
    commit("0.2.0", "0.1.0")
    assert last_release(tmp_path) == second


def test_a_heading_without_a_tag_is_no_release_where_there_are_tags(
    tmp_path: Path, git: Callable[..., str], commit: Callable[..., str]
) -> None:
    first = commit("0.1.0")
    git("tag", "v0.1.0")
    commit("0.2.0", "0.1.0")
    commit("0.2.0", "0.1.0")
    assert last_release(tmp_path) == first


def test_scenarios_of_a_release_are_found_where_they_were() -> None:
    run = subprocess.run(["scripts/last_release.sh", "0.1.0"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert scenarios_of(run.stdout.strip()) == "clients/conformance"
    assert scenarios_of("HEAD") == "conformance/scenarios"
