"""What an entry does when it is delivered: a row of the table of kinds is all that Python needs for it."""

import pytest
from parley.v1 import chat_pb2, message_pb2

from service.convert import entry_kinds, fast_wire
from service.convert.items import Item
from storage.postgres.connections.database import Database
from storage.records import EntryKind
from tests.support.log import add_group
from tests.support.logs import add_users, send
from tests.support.waiting import wait_for
from tests.support.worker import running_worker

EDIT = 3


def edited(item: Item) -> Item:
    """The message that an edit names, with the text of the edit."""
    edit = chat_pb2.ChatResponse.FromString(item.body).messages[0]
    message = message_pb2.Message(conversation_id=edit.conversation_id, seq=edit.reply_to_seq, text=edit.text)
    return Item(edit.reply_to_seq, fast_wire.framed(message.SerializeToString()), EntryKind.MESSAGE, 0)


async def append_edit(database: Database, seq: int, text: str) -> None:
    await database.fetch(
        """SELECT append_entries($1::smallint, 2::smallint, '{g}', '{ann}', '{1}', '{1}', '{edit}', '{""}', '{100}',
                                 ARRAY[$2::bigint], ARRAY[$3], NULL, NULL, NULL)""",
        EDIT,
        seq,
        text,
    )


async def test_kind_with_a_row_alone_is_stored_handed_on_and_changes_the_bytes_in_memory(
    database: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = entry_kinds.Kind(
        EDIT, "message", counts_as_message=False, to_arm=lambda _: message_pb2.PlainMessage(), replacement=edited
    )
    monkeypatch.setitem(entry_kinds.KINDS, EDIT, row)
    await add_users(database, "ann", "bob")
    await add_group(database, "g", "ann", "bob")
    async with running_worker(database, redis_url) as worker:
        live = await worker.attach("bob", "live")
        for text in ("one", "two"):
            await send(database, "g", "ann", text)
        await append_edit(database, 1, "changed")
        worker.hub.note_last_seq("g", 3)
        await live.until("g", 1, 2, 3)
        later = await worker.attach("bob", "later")
        await wait_for(lambda: len(later.seqs("g")) == 3, what="the replay")
        assert [message.text for message in live.read().messages] == ["one", "two", "changed"]
        assert [message.text for message in later.read().messages] == ["changed", "two", "changed"]
    counts = await database.fetchrow("SELECT last_seq, message_count FROM conversations")
    assert counts is not None
    assert tuple(counts) == (3, 2)
