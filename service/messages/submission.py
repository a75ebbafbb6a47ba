"""A message that waits to be stored, and the interface of whoever waits for its outcome."""

from dataclasses import dataclass
from typing import Protocol

from service.domain.errors import ParleyError
from storage.records import Draft, Stored


class Ticket(Protocol):
    """Receives the outcomes of the messages of one request. Runs on the event loop; must not block or raise."""

    def settle(self, index: int, outcome: Stored | ParleyError) -> None:
        """Takes the outcome of the message with this index; called once for each index."""


@dataclass(slots=True)
class Submission:
    """One message that waits to be stored.

    Attributes:
        message: the bytes of the Message for readers, without seq and create_time.
        ticket: receives the outcome.
        index: the message's place in the request that the ticket belongs to, from 0.
        origin: the id of the session that sent it; 0: a unary call.
        submit_time: when the writer took it, on the event loop's clock.
        deadline: when its caller stops waiting, on that clock; it is refused if no batch has taken it by then.
        is_tried: a batch with it was sent and the answer did not come; the message may be stored.
        is_settled: the ticket has the outcome.
    """

    draft: Draft
    message: bytes
    ticket: Ticket
    index: int
    origin: int = 0
    submit_time: float = 0.0
    deadline: float | None = None
    is_tried: bool = False
    is_settled: bool = False
