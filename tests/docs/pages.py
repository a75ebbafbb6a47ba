"""The pages that people read, and what is fenced in them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
CLIENTS = [*(ROOT / "clients").glob("*/README.md"), *(ROOT / "clients" / "examples").glob("*/README.md")]
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "clients" / "README.md",
    *sorted(CLIENTS),
    ROOT / "conformance" / "README.md",
]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def list_blocks(page: Path) -> list[tuple[str, str]]:
    """Lists the fenced blocks of a page, in order: (language, content)."""
    return _BLOCK.findall(page.read_text())


def read_prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _BLOCK.sub("", page.read_text())
