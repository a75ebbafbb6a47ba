"""ListDeadLetters, RedriveDeadLetters, DeleteDeadLetters."""

from collections.abc import Callable

from parley.v1 import dead_letter_pb2

from service.convert import dead_letters as convert
from service.domain import checks, page_tokens
from service.domain.call import DEAD_LETTERS_SCOPE, Call
from service.domain.errors import ScopeMissing
from service.domain.field_checks import FieldChecks
from storage.postgres.devices.dead_letters import DeadLetters


class DeadLetterHandlers:
    """The calls about messages whose attempts are used up.

    Args:
        announce: told of (user name, device) that have something to deliver again.
    """

    def __init__(self, dead_letters: DeadLetters, *, announce: Callable[[str, str], None]) -> None:
        self._dead_letters = dead_letters
        self._announce = announce

    async def list_dead_letters(
        self, request: dead_letter_pb2.ListDeadLettersRequest, call: Call
    ) -> dead_letter_pb2.ListDeadLettersResponse:
        """Lists a page."""
        with FieldChecks() as check:
            conversation_id = request.conversation_id and check(checks.to_conversation_id, request.conversation_id)
            owner = _to_owner(call, all_users=request.all_users)
            device_id = check(checks.to_device_id, request.device_id)
            after = check(page_tokens.from_dead_letters_token, request.page_token)
            limit = check(convert.from_page_size, request.page_size)
        letters, has_more = await self._dead_letters.list_page(
            owner, conversation_id=conversation_id, device_id=device_id, after=after, limit=limit
        )
        return dead_letter_pb2.ListDeadLettersResponse(
            dead_letters=map(convert.to_dead_letter, letters),
            next_page_token=page_tokens.to_dead_letters_token(letters[-1].dead_letter_id) if has_more else "",
        )

    async def redrive_dead_letters(
        self, request: dead_letter_pb2.RedriveDeadLettersRequest, call: Call
    ) -> dead_letter_pb2.RedriveDeadLettersResponse:
        """Delivers dead letters again."""
        ids = convert.from_ids(request.dead_letter_ids)
        redriven = await self._dead_letters.redrive(ids, _to_owner(call, all_users=request.all_users))
        for username, device_id in {(letter.username, letter.device_id) for letter in redriven}:
            self._announce(username, device_id)
        return dead_letter_pb2.RedriveDeadLettersResponse(
            dead_letter_ids=[str(letter.dead_letter_id) for letter in redriven]
        )

    async def delete_dead_letters(
        self, request: dead_letter_pb2.DeleteDeadLettersRequest, call: Call
    ) -> dead_letter_pb2.DeleteDeadLettersResponse:
        """Deletes dead letters."""
        ids = convert.from_ids(request.dead_letter_ids)
        deleted = await self._dead_letters.delete(ids, _to_owner(call, all_users=request.all_users))
        return dead_letter_pb2.DeleteDeadLettersResponse(dead_letter_ids=map(str, deleted))


def _to_owner(call: Call, *, all_users: bool) -> str | None:
    """Returns whose dead letters are meant: the caller's, or None for those of all.

    Raises:
        ScopeMissing: all are asked for and the token is not an operator's.
    """
    if not all_users:
        return call.caller.username
    if DEAD_LETTERS_SCOPE not in call.caller.scopes:
        raise ScopeMissing(DEAD_LETTERS_SCOPE)
    return None
