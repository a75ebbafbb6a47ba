"""The measurements of `make measure` at small sizes, on real servers: they run, and what holds at any size does."""

import re

from tests.measure import connect, hot, senders


def numbers_after(text: str, words: str) -> list[int]:
    """The list of numbers that is printed after these words."""
    found = re.search(rf"{words}: \[([\d, ]*)\]", text)
    assert found, text
    return [int(number) for number in found[1].split(",")]


async def test_hot_conversation_is_encoded_once_and_complete_on_every_stream(capsys):
    await hot.measure(members=60, streams=40, per_second=100.0, seconds=1.0)
    printed = capsys.readouterr().out
    assert "60 members; 100 messages sent at 100 a second" in printed
    assert "complete and in order on 40 of 40 streams" in printed
    encoded, gap_reads = (sum(numbers_after(printed, words)) for words in ("encoded by each worker", "gap reads"))
    assert encoded == 100 or (gap_reads and encoded > 100)


async def test_many_senders_on_two_workers_make_one_dense_log(capsys):
    await senders.measure(senders=16, each=5)
    printed = capsys.readouterr().out
    assert "dense: True; complete and in order on 16 of 16 streams" in printed
    stored = numbers_after(printed, "stored by")
    assert (len(stored), sum(stored)) == (2, 80)


async def test_user_with_many_conversations_gets_a_mark_for_each_and_what_is_behind(capsys):
    await connect.measure(conversation_count=400, runs=1)
    printed = capsys.readouterr().out
    for line in (
        "first on the worker, 0 messages",
        "again at once, 0 messages",
        "a new device that has nothing, 1200 messages",
        "first on the worker, 10 behind in each of 200, 2000 messages",
        "again, 10 behind in each of 200, 2000 messages",
    ):
        assert line in printed, printed
