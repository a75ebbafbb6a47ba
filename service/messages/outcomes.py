"""Translates the answers of the database to a batch into outcomes for its senders. Pure."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from service.domain import errors
from service.messages.submission import Submission
from storage.records import Outcome, Stored

Settled: TypeAlias = tuple[Submission, Stored | errors.ParleyError]


class BatchOutcome(NamedTuple):
    """What became of a batch.

    Attributes:
        stored: new entries of the log; readers must hear of them.
        settled: all messages that have an outcome, those of `stored` among them.
        missing: messages to direct conversations that do not exist yet; they have no outcome.
        deduplicated_count: how many of `settled` are repeats.
    """

    stored: list[tuple[Submission, Stored]]
    settled: list[Settled]
    missing: list[Submission]
    deduplicated_count: int


def to_batch_outcome(batch: Sequence[Submission], answers: Sequence[Stored]) -> BatchOutcome:
    """Pairs the messages of a batch with the answers to them, which are in the same order.

    When the answer to an earlier attempt was lost, a duplicate may be the message itself. The first duplicate of a seq
    then counts as new, and any other one as a repeat.
    """
    stored: list[tuple[Submission, Stored]] = []
    settled: list[Settled] = []
    missing: list[Submission] = []
    new: set[tuple[str, int]] = set()
    deduplicated_count = 0
    is_retry = any(submission.is_tried for submission in batch)
    for submission, answer in zip(batch, answers, strict=True):
        if answer.outcome is Outcome.STORED and not is_retry:  # nearly always
            stored.append((submission, answer))
            settled.append((submission, answer))
            continue
        if answer.outcome is Outcome.NO_CONVERSATION and ":" in submission.draft.conversation_id:
            missing.append(submission)
            continue
        outcome = _to_outcome(submission, answer)
        if isinstance(outcome, Stored) and outcome.outcome is Outcome.STORED:
            place = (submission.draft.conversation_id, outcome.seq)
            if place in new:  # a repeat within a batch that a lost attempt had stored
                outcome = Stored(Outcome.DUPLICATE, outcome.seq, outcome.create_time)
            else:
                new.add(place)
                stored.append((submission, outcome))
        if isinstance(outcome, Stored) and outcome.outcome is Outcome.DUPLICATE:
            deduplicated_count += 1
        settled.append((submission, outcome))
    return BatchOutcome(stored, settled, missing, deduplicated_count)


def _to_outcome(submission: Submission, answer: Stored) -> Stored | errors.ParleyError:
    """Returns what the sender is told; nothing in it depends on the rest of the batch."""
    draft = submission.draft
    match answer.outcome:
        case Outcome.DUPLICATE if submission.is_tried:  # our own attempt, whose answer did not come
            return Stored(Outcome.STORED, answer.seq, answer.create_time)
        case Outcome.STORED | Outcome.DUPLICATE:
            return answer
        case Outcome.REUSED:
            return errors.RequestIdReused(draft.request_id)
        case Outcome.ROLE_TOO_LOW:
            return errors.RoleTooLow("send messages", "READER")
        case Outcome.REPLY_NOT_FOUND:
            return errors.ReplyNotFound(draft.reply_to_seq)
        case Outcome.NO_CONVERSATION | Outcome.NOT_A_MEMBER:
            return errors.ConversationNotFound(draft.conversation_id)
