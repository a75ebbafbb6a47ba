"""What a batch asks the database, and whose answer is whose."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from storage.postgres.connections.database import Database
from storage.postgres.log.append import Appender
from storage.postgres.log.batches import Batch
from storage.records import Draft, Outcome, Stored
from tests.support.log import add_group, draft
from tests.support.logs import add_users

NOW = datetime(2026, 1, 2, tzinfo=UTC)

drafts = st.builds(
    Draft,
    conversation_id=st.sampled_from("ghi"),
    sender=st.sampled_from(["ann", "bob"]),
    request_id=st.sampled_from("123456"),
    request_hash=st.sampled_from([b"x", b"y"]),
    size_bytes=st.integers(1, 9),
    reply_to_seq=st.sampled_from([0, 0, 1]),
)


@given(st.lists(drafts, min_size=1, max_size=40))
def test_whole_places_give_dense_seqs_in_the_order_of_the_drafts(batch_drafts):
    batch = Batch(batch_drafts)
    conversation_ids, senders, places, ranks, *_ = batch.arguments()
    rows = [
        {"ord": place, "outcome": -1, "seq": 100 * ord(name), "create_time": NOW}
        for place, name in enumerate(conversation_ids, 1)
    ]
    answers = batch.with_repeats(batch.to_answers(rows))
    log: dict[str, list[int]] = {}
    first: dict[tuple[str, str, str], tuple[Draft, int]] = {}
    for one, answer in zip(batch_drafts, answers, strict=True):
        if one[:3] not in first:
            first[one[:3]] = one, answer.seq
            assert answer.outcome is Outcome.STORED
            log.setdefault(one.conversation_id, []).append(answer.seq)
            continue
        original, seq = first[one[:3]]
        is_same = original.request_hash == one.request_hash
        assert answer == Stored(Outcome.DUPLICATE if is_same else Outcome.REUSED, seq, NOW)
    for name, seqs in log.items():
        assert seqs == [100 * ord(name) + nth for nth in range(1, len(seqs) + 1)]
    assert len(set(zip(conversation_ids, senders, strict=True))) == len(conversation_ids)
    assert len(places) == len(ranks) == len(first)


def test_column_with_nothing_to_say_is_not_sent():
    *_, replies, texts, datas, content_types, extras = Batch([Draft("g", "ann", "1", b"", 9, "text")]).arguments()
    assert (replies, texts, datas, content_types, extras) == (None, ("text",), None, None, None)
    one = Draft("g", "ann", "2", b"", 9, "", b"1", "a/b", 3, "{}")
    *_, replies, texts, datas, content_types, extras = Batch([Draft("g", "ann", "1", b"", 9, "text"), one]).arguments()
    assert (replies, texts) == ((0, 3), ("text", ""))
    assert (datas, content_types, extras) == ((None, b"1"), (None, "a/b"), (None, "{}"))


async def test_batch_that_takes_the_short_way_stores_what_the_long_one_would(database: Database):
    """The same messages, once in a batch of their own, once with one that is refused and one that is a repeat."""
    await add_users(database, "ann", "bob")
    await add_group(database, "g", "ann", "bob")
    await add_group(database, "h", "ann", "bob")
    appender = Appender(database)
    names = ("request_id", "text", "data", "content_type", "extras", "size_bytes", "message_number", "reply_to_seq")
    logs = {}
    for conversation_id, more in (("g", []), ("h", [draft("h", "cid"), draft("h", "ann", request_id="first")])):
        await appender.store([draft(conversation_id, "ann", request_id="first")])
        batch = [
            draft(conversation_id, "ann", request_id="1"),
            draft(conversation_id, "bob", request_id="2", data=b"\x00\xff", content_type="a/b"),
            draft(conversation_id, "ann", request_id="3", extras='{"mentions": ["bob"]}'),
        ]
        answers = await appender.store([*batch, *more])
        assert [answer.seq for answer in answers[:3]] == [2, 3, 4]
        rows = await database.fetch("SELECT * FROM messages WHERE conversation_id = $1 ORDER BY seq", conversation_id)
        assert [row["create_time"] for row in rows[1:]] == [answer.create_time for answer in answers[:3]]
        logs[conversation_id] = [tuple(row[name] for name in names) for row in rows]
        state = await database.fetchrow(
            """SELECT c.last_seq, c.message_count, c.last_time, array_agg(m.own_unread ORDER BY m.username) AS own
               FROM conversations c JOIN members m USING (conversation_id) WHERE conversation_id = $1
               GROUP BY 1, 2, 3""",
            conversation_id,
        )
        assert state is not None
        assert (state["last_seq"], state["message_count"], state["own"]) == (4, 4, [3, 1])
        assert state["last_time"] == answers[2].create_time
    appender.discard()
    assert logs["g"] == logs["h"]
