"""A message on its way to the log, and whom to tell what became of it."""

from dataclasses import dataclass
from typing import Protocol

from service.domain.errors import ParleyError
from storage.records import Draft, Stored


class Ticket(Protocol):
    """Whoever waits for outcomes. Called on the event loop; must not block or raise."""

    def settle(self, index: int, outcome: Stored | ParleyError) -> None:
        """Takes what became of the index-th message."""


@dataclass(slots=True)
class Submission:
    """One message that waits to be stored.

    Attributes:
        message: the bytes of the Message for readers, which still lacks seq and time.
        origin: the session that sends it; 0: a unary call.
        index: its place in the frame or batch of the ticket.
        submit_time: when it came, on the event loop's clock.
        deadline: when its caller stops waiting, on that clock; it is refused if no batch has taken it by then.
        is_tried: a batch with it was sent and the answer did not come; it may be stored.
        is_settled: its ticket has heard.
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
