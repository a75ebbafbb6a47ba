"""The data-model page has the tables and columns of a migrated database, and its picture no table that is not there."""

import re

from storage.postgres.connections.database import Database
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "data-model.md").read_text()


async def test_page_has_every_table_and_column_in_the_database_and_no_other(module_database: Database) -> None:
    rows = await module_database.fetch(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position"
    )
    stored: dict[str, list[str]] = {}
    for table, column in rows:
        stored.setdefault(table, []).append(column)
    described = {
        section.partition("\n")[0]: re.findall(r"^\| (\w+) \| ", section.partition("|---|---|\n")[2], re.MULTILINE)
        for section in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
    }
    assert described == stored


async def test_picture_shows_tables_that_are_there(module_database: Database) -> None:
    picture = PAGE.partition("```mermaid\n")[2].partition("```")[0]
    shown = set(re.findall(r"^    (\w+) \S+ (\w+) :", picture, re.MULTILINE))
    tables = {
        row[0]
        for row in await module_database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    }
    assert len(shown) > 10
    assert {name for pair in shown for name in pair} <= tables
