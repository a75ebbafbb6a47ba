"""What an export leaves out: a transaction id of one PostgreSQL means something else in another."""

from storage.postgres.archive.form import OF_RUNNING_SERVERS
from storage.postgres.connections.database import Database


async def test_no_transaction_id_is_exported(database: Database) -> None:
    rows = await database.fetch(
        "SELECT DISTINCT table_name FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND udt_name IN ('xid', 'xid8')"
    )
    tables = {row["table_name"] for row in rows}
    assert tables >= {"commit_feed", "content_changes"}
    assert tables <= OF_RUNNING_SERVERS
