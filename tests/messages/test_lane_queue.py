"""A lane's queue: what leaves it for a blocked lane, and in which order."""

from service.messages.budget import Budget
from service.messages.counts import WriterCounts
from service.messages.lane_queue import LaneQueue
from service.messages.settlements import Settlements
from service.messages.submission import Submission
from tests.support.desks import NoTicket
from tests.support.log import draft


def texts(submissions: list[Submission]) -> list[str]:
    return [submission.draft.text for submission in submissions]


async def test_conversation_leaves_a_queue_with_all_its_messages_in_order_and_the_others_stay():
    counts = WriterCounts()
    queue = LaneQueue(Settlements(Budget(100), counts, lambda _: None), counts)

    def put(*places: tuple[str, str]) -> None:
        queue.put([Submission(draft(group, "ann", text), b"", NoTicket(), 0) for group, text in places])

    put(("g", "1"), ("h", "a"), ("g", "2"))
    assert texts(queue.begin_batch()) == ["1", "a", "2"]
    put(("h", "b"), ("g", "3"), ("g", "4"))
    queue.in_flight[0].is_settled = True
    assert texts(queue.take_out("g")) == ["2", "3", "4"]
    assert texts(queue.in_flight) == ["1", "a"]
    queue.end_batch()
    assert texts(queue.begin_batch()) == ["b"]
