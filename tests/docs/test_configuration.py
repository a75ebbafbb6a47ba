"""docs/configuration.md says what the settings are."""

import json
from pathlib import Path

from service.settings.load import LEAVES, Leaf, load

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def to_row(leaf: Leaf) -> str:
    """The page's line for a setting."""
    default = json.dumps(str(leaf.default) if isinstance(leaf.default, Path) else leaf.default)
    return f"| `{leaf.key}` | `{leaf.variable}` | `{default}` | {leaf.description} ({leaf.allowed}) |"


def test_page_has_a_line_for_every_setting_and_no_other() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    expected = [to_row(leaf) for leaf in LEAVES.values()]
    assert rows == expected, "the table should be:\n" + "\n".join(expected)


def test_commit_of_an_image_is_no_unknown_setting() -> None:
    assert load(environment={"PARLEY_COMMIT": "0123abc", "PARLEY_WORKERS": "2"}).settings.workers == 2
