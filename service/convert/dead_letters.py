"""Dead letters to and from the contract's messages; protobuf goes no deeper."""

from collections.abc import Sequence

from parley.v1 import dead_letter_pb2, error_pb2

from service.convert.messages import to_message
from service.convert.timestamps import to_timestamp
from service.domain import checks
from service.domain.errors import InvalidRequest
from service.domain.limits import DEFAULT_DEAD_LETTERS_PAGE, MAX_DEAD_LETTER_IDS, MAX_DEAD_LETTERS_PAGE
from storage.postgres.devices.dead_letters import DeadLetter

_MAX_ID = 2**63 - 1


def to_dead_letter(letter: DeadLetter) -> dead_letter_pb2.DeadLetter:
    """Returns the letter with its message."""
    return dead_letter_pb2.DeadLetter(
        dead_letter_id=str(letter.dead_letter_id),
        username=letter.username,
        device_id=letter.device_id,
        message=to_message(letter.entry),
        attempts=letter.attempts,
        last_reason=letter.last_reason,
        error_reason=error_pb2.ERROR_REASON_RETRY_EXHAUSTED,
        first_attempt_time=to_timestamp(letter.first_time),
        last_attempt_time=to_timestamp(letter.last_time),
        create_time=to_timestamp(letter.create_time),
    )


def from_ids(values: Sequence[str]) -> list[int]:
    """Returns the ids of a request, each once.

    Raises:
        InvalidRequest: there are none or too many, or one is no id.
    """
    if not 1 <= len(values) <= MAX_DEAD_LETTER_IDS:
        raise InvalidRequest("dead_letter_ids", f"must have 1 to {MAX_DEAD_LETTER_IDS} elements, not {len(values)}")
    return sorted({_from_id(value) for value in values})


def from_page_size(value: int) -> int:
    """Returns how many dead letters a page has."""
    return checks.to_page_size(value, "page_size", default=DEFAULT_DEAD_LETTERS_PAGE, maximum=MAX_DEAD_LETTERS_PAGE)


def _from_id(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 19 and int(value) <= _MAX_ID):
        raise InvalidRequest("dead_letter_ids", "must be ids as ListDeadLetters gives them")
    return int(value)
