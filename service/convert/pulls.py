"""`Pull`: the part of a log that a request asks for, and the response with what was read."""

from dataclasses import dataclass
from datetime import datetime

from parley.v1 import message_pb2

from service.convert.messages import to_message
from service.convert.timestamps import from_timestamp
from service.domain import checks
from service.domain.errors import InvalidRequest
from service.domain.field_checks import FieldChecks
from service.domain.limits import DEFAULT_PULL_LIMIT, MAX_PULL_LIMIT
from storage.records import Page


@dataclass(frozen=True, slots=True)
class PullRange:
    """A part of a log.

    Attributes:
        cursor: the first seq wanted; with reverse the highest one. 0: from the start; with reverse from the end.
        from_time: begins there instead of at a cursor; UTC.
        limit: entries at most, 1 to MAX_PULL_LIMIT.
        reverse: newest first.
    """

    conversation_id: str
    cursor: int
    from_time: datetime | None
    limit: int
    reverse: bool


def from_pull(request: message_pb2.PullRequest) -> PullRange:
    """Returns what the request asks for.

    Raises:
        InvalidRequest: a field is out of its range, or there is a time and a cursor.
    """
    with FieldChecks() as check:
        conversation_id = check(checks.to_conversation_id, request.conversation_id)
        limit = check(checks.to_page_size, request.limit, "limit", default=DEFAULT_PULL_LIMIT, maximum=MAX_PULL_LIMIT)
        cursor = check(checks.to_natural, request.cursor, "cursor")
        from_time = check(_from_time, request)
    return PullRange(conversation_id, cursor, from_time, limit, request.reverse)


def _from_time(request: message_pb2.PullRequest) -> datetime | None:
    if not request.HasField("from_time"):
        return None
    if request.cursor:
        raise InvalidRequest("from_time", "can't go with a cursor")
    try:
        return from_timestamp(request.from_time)
    except ValueError:
        raise InvalidRequest("from_time", "must be a time between the years 1 and 9999") from None


def to_pull_response(page: Page, *, next_cursor: int) -> message_pb2.PullResponse:
    """Returns the response with a page and the cursor of the next one."""
    return message_pb2.PullResponse(
        messages=map(to_message, page.entries), next_cursor=next_cursor, has_more=page.has_more, epoch=page.epoch
    )
