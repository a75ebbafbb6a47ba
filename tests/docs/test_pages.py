"""What the pages name is there: links, files, tests, methods; and the code that they show works."""

import ast
import functools
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, list_blocks, read_prose
from tests.support.servers import RunningServer

FOLDERS = "service|storage|tests|clients|proto|docs|scripts|conformance"
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@functools.cache
def list_methods() -> dict[str, set[str]]:
    """Names the methods of each class of the code."""
    methods: dict[str, set[str]] = {}
    for path in [*(ROOT / "service").rglob("*.py"), *(ROOT / "storage").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                names = methods.setdefault(node.name, set())
                names |= {part.name for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)}
    return methods


@each_page
def test_links_lead_to_files_of_the_project(page: Path) -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", read_prose(page))]
    targets = [(page.parent / link).resolve() for link in links if link and "://" not in link]
    assert [path for path in targets if not (path.exists() and path.is_relative_to(ROOT))] == []


@each_page
def test_files_and_tests_that_are_named_are_there(page: Path) -> None:
    missing = []
    for path, test in re.findall(rf"`((?:{FOLDERS})/[\w./-]+)(?:::(\w+))?`", read_prose(page)):
        file = ROOT / path
        if not file.exists() or (test and not re.search(rf"def {test}\(", file.read_text())):
            missing.append(f"{path}::{test}" if test else path)
    commands = re.findall(rf"(?:python|sh|pytest) ((?:{FOLDERS})/[\w./-]+)", page.read_text())
    missing += [path for path in commands if not (ROOT / path).exists()]
    assert missing == []


@each_page
def test_methods_that_are_named_are_there(page: Path) -> None:
    named = re.findall(r"`(_?[A-Z]\w+)\.(\w+)`", page.read_text())
    methods = list_methods()
    assert [(owner, name) for owner, name in named if owner in methods and name not in methods[owner]] == []
    if page.name == "architecture.md":
        assert len(named) > 20
        assert {owner for owner, _ in named} <= set(methods)


def test_map_of_the_architecture_names_every_room_of_the_server() -> None:
    tree = (ROOT / "docs/architecture.md").read_text().partition("## Shape\n")[2].partition("\nDirection:")[0]
    words = set(re.findall(r"\w+", tree))
    rooms = {path.parent.name for top in ("service", "storage") for path in (ROOT / top).rglob("__init__.py")}
    assert len(rooms) > 20
    assert rooms - words == set()


def test_picture_of_the_layers_is_what_import_linter_holds() -> None:
    picture = (ROOT / "docs/architecture.md").read_text().partition("flowchart TD\n")[2].partition("```")[0]
    arrows = set()
    for line in re.sub(r"main\[.*?\]", "__main__", picture).splitlines():
        above, below = (re.findall(r"\w+", side) for side in line.split("-->"))
        arrows |= set(itertools.product(above, below))
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    held = set()
    for contract in contracts:
        if contract["type"] == "layers" and "service.domain" in str(contract["layers"]):
            floors = [re.findall(r"(?:service\.)?(\w+)", floor.replace("service.", "")) for floor in contract["layers"]]
            held |= {pair for one, other in itertools.pairwise(floors) for pair in itertools.product(one, other)}
    assert arrows == held - {("cli", "rpc")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_in_pictures_are_there(page: Path) -> None:
    pictures = [content for language, content in list_blocks(page) if language == "mermaid"]
    names = re.findall(r"[\w/]+\.py\b", "\n".join(pictures))
    assert [name for name in names if not (ROOT / "service" / name).is_file()] == []
    assert names or page.name != "architecture.md"


def test_reader_of_details_on_the_errors_page_works(server: RunningServer) -> None:
    (code,) = [content for language, content in list_blocks(ROOT / "docs" / "errors.md") if language == "python"]
    call = f"""
from parley.v1 import chat_service_pb2_grpc, message_pb2
try:
    with grpc.insecure_channel("{server.target}") as channel:
        chat_service_pb2_grpc.ChatServiceStub(channel).Send(message_pb2.SendRequest(), timeout=20)
except grpc.RpcError as error:
    print(reason_of(error))
"""
    done = subprocess.run(
        [sys.executable, "-"], input=code + call, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.stdout.strip() == "TOKEN_MISSING", done.stderr
