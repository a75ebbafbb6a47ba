"""The packages: what is in their wheels, how they are named, and that a server from wheels alone runs."""

import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

import pytest

from service.domain import distribution

ROOT = Path(__file__).parents[2]
PROJECTS = {
    "parley-server": ROOT,
    "parley-bench": ROOT / "bench",
    "parley-client": ROOT / "clients" / "python",
    "parley-client-betterproto": ROOT / "clients" / "python-betterproto",
}


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel that was built: where it is, the paths in it, and the lines of its metadata."""

    path: Path
    names: set[str]
    requirements: list[str]


def project(folder: Path) -> dict[str, object]:
    """The [project] table of a folder."""
    table: dict[str, object] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return table


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Wheel]:
    """The wheels of all packages, by name."""
    place = tmp_path_factory.mktemp("wheels")
    built = {}
    for name, folder in PROJECTS.items():
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=50)
        (path,) = place.glob(f"{name.replace('-', '_')}-*.whl")
        with zipfile.ZipFile(path) as archive:
            (metadata,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
            headers = Parser().parsestr(archive.read(metadata).decode())
            assert headers["Name"] == name
            built[name] = Wheel(path, set(archive.namelist()), headers.get_all("Requires-Dist", []))
    return built


def test_no_two_wheels_own_a_path(wheels: dict[str, Wheel]) -> None:
    tops = {name: {path.split("/")[0] for path in wheel.names} for name, wheel in wheels.items()}
    folders = {name: {top for top in found if not top.endswith(".dist-info")} for name, found in tops.items()}
    assert folders == {
        "parley-server": {"service", "storage"},
        "parley-bench": {"bench"},
        "parley-client": {"parley"},
        "parley-client-betterproto": {"parley_betterproto"},
    }


def test_server_brings_its_own_client_and_all_have_one_version(wheels: dict[str, Wheel]) -> None:
    versions = {name: project(folder)["version"] for name, folder in PROJECTS.items()}
    assert len(set(versions.values())) == 1
    assert f"parley-client>={versions['parley-client']}" in wheels["parley-server"].requirements
    assert f"parley-server[embedded]>={versions['parley-server']}" in wheels["parley-bench"].requirements
    assert distribution.version() == versions["parley-server"]


def test_server_from_wheels_runs_and_names_its_version(wheels: dict[str, Wheel], tmp_path: Path) -> None:
    ours = [str(wheels[name].path) for name in ("parley-server", "parley-client")]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(tmp_path)]
    subprocess.run([*pip, *ours], check=True, capture_output=True, timeout=50)
    script = "import service, storage, parley; print(*(m.__file__ for m in (service, storage, parley)))"
    command = [sys.executable, "-P", "-c", script]
    environment = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert all(path.startswith(str(tmp_path)) for path in found.stdout.split())
    told = subprocess.run(
        [sys.executable, str(tmp_path / "bin" / "parley"), "--version"],
        check=True, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=50,
    )  # fmt: skip
    assert told.stdout == f"parley {distribution.version()}\n"


def test_load_generator_is_the_whole_folder_and_nothing_else(wheels: dict[str, Wheel]) -> None:
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "bench").rglob("*.py") if "build" not in path.parts}
    assert len(sources) > 50
    assert {name for name in wheels["parley-bench"].names if ".dist-info/" not in name} == sources


@pytest.mark.parametrize("extra", ["bench", "crypto", "embedded"])
def test_command_for_an_extra_can_be_pasted(extra: str) -> None:
    command = distribution.install_command(extra)
    done = subprocess.run(
        ["sh", "-c", f"{command} --dry-run --quiet --no-index"], capture_output=True, text=True, check=False, timeout=50
    )
    assert (done.returncode, done.stderr) == (0, "")  # what development needs has all of them
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    assert len(wanted) == len([word for word in command.split() if "=" in word])
