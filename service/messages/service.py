"""The verbs about messages: send, send a batch, send on a stream, pull. Calls and frames use the same ones.

A send goes through four steps, in this order. *Check*: `convert/drafts.py` checks the content, before anything here is
called; it may refuse and never writes. *Access*: the statement that stores a batch checks membership and role, under
the lock of the conversation. *Do*: `Writer.submit`, and the lane that stores. *Announce*: `Settlements.finish`, after
the commit.
"""

from collections.abc import Sequence
from typing import NamedTuple

from service.convert.drafts import Checked, Prepared, conversation_ids_of
from service.convert.pulls import PullRange
from service.delivery.session import Session
from service.domain.errors import ConversationNotFound, CursorBeyondEnd, ParleyError
from service.messages.submission import Submission, Ticket
from service.messages.tickets import CallTicket, StreamTicket
from service.messages.writer import Writer
from storage.errors import Absent
from storage.postgres.log.messages import Messages
from storage.records import Entry, Outcome, Page, Stored


class Pulled(NamedTuple):
    """A page of a log and the cursor of the next one; 0: there is none."""

    page: Page
    next_cursor: int


class MessageService:
    """Stores and reads messages on behalf of users.

    Args:
        log: reads what is stored.
    """

    def __init__(self, writer: Writer, log: Messages) -> None:
        self._writer = writer
        self._log = log

    async def send(self, prepared: Prepared, *, deadline: float | None) -> Stored | Entry:
        """Stores one message; returns after its commit.

        Args:
            deadline: when the caller stops waiting, on the event loop's clock; None: never.

        Returns:
            The place of a new message; for a repeat the entry that the first request stored.

        Raises:
            ParleyError: the message is refused; which errors there are, the contract says.
        """
        ticket = CallTicket(1)
        self._do_send([prepared], ticket, deadline=deadline)
        (outcome,) = await ticket.wait()
        if isinstance(outcome, ParleyError):
            raise outcome
        if outcome.outcome is Outcome.DUPLICATE:
            return await self._log.get_entry(prepared[0].conversation_id, outcome.seq)
        return outcome

    async def send_batch(self, checked: Sequence[Checked], *, deadline: float | None) -> list[Stored | ParleyError]:
        """Stores several messages, each for itself; returns their outcomes, in order, when all have one.

        Args:
            deadline: as of `send`.

        Raises:
            Overloaded, DatabaseUnavailable, ShuttingDown: the batch is refused as a whole, and nothing is stored.
        """
        ticket = CallTicket(len(checked))
        self._do_send(checked, ticket, deadline=deadline)
        return await ticket.wait()

    def send_on_stream(self, session: Session, checked: Sequence[Checked], correlation_id: int) -> None:
        """Stores the messages of one frame; the session gets an outcome for each, and nothing is raised."""
        ticket = StreamTicket(session, correlation_id, conversation_ids_of(checked))
        session.outbox.expect_answers(len(checked))
        try:
            self._do_send(checked, ticket, origin=session.session_id)
        except ParleyError as refusal:
            for index, one in enumerate(checked):
                if not isinstance(one, ParleyError):
                    ticket.settle(index, refusal)

    def _do_send(
        self, checked: Sequence[Checked], ticket: Ticket, *, origin: int = 0, deadline: float | None = None
    ) -> None:
        """Submits what passed its check, and settles what did not."""
        submissions = []
        for index, one in enumerate(checked):
            if isinstance(one, ParleyError):
                ticket.settle(index, one)
                continue
            draft, message = one
            submissions.append(Submission(draft, message, ticket, index, origin, 0.0, deadline))
        if submissions:
            self._writer.submit(submissions)

    async def pull(self, username: str, wanted: PullRange) -> Pulled:
        """Reads a part of a log as a member may see it, in one statement (two by time).

        Raises:
            ConversationNotFound: there is no such conversation, or the user never was in it.
            CursorBeyondEnd: the cursor is more than one above the last seq that the user may see.
        """
        try:
            return await self._pull(username, wanted)
        except Absent:
            raise ConversationNotFound(wanted.conversation_id) from None

    async def _pull(self, username: str, wanted: PullRange) -> Pulled:
        conversation_id, cursor, limit, reverse = wanted.conversation_id, wanted.cursor, wanted.limit, wanted.reverse
        if wanted.from_time is not None:
            cursor = await self._log.find_seq_by_time(conversation_id, username, wanted.from_time, reverse=reverse)
            if cursor == 0 and reverse:  # a time before the first entry: there is nothing, and nothing more
                page = await self._log.read_page(conversation_id, username, cursor=1, limit=0, reverse=True)
                return Pulled(Page((), page.last_seq, has_more=False, epoch=page.epoch), 0)
        page = await self._log.read_page(conversation_id, username, cursor=cursor, limit=limit, reverse=reverse)
        if cursor > page.last_seq + 1:
            raise CursorBeyondEnd(conversation_id, page.last_seq)
        return Pulled(page, _next_cursor(page, reverse=reverse))


def _next_cursor(page: Page, *, reverse: bool) -> int:
    """Returns where the next page begins; 0 where a reverse reading has reached the start."""
    if reverse:
        return page.entries[-1].seq - 1 if page.has_more else 0
    return page.entries[-1].seq + 1 if page.entries else page.last_seq + 1
