"""The verbs of conversations. Each verb checks its request, stores the change, and announces it after the commit.

The verbs take ids, names and texts that are well-formed (`domain/checks.py`). `service/domain/membership.py` decides
which members a change affects, and how. The verbs of messages are in `service/messages/service.py`.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from service.domain import checks, page_tokens
from service.domain.errors import (
    ConversationNotFound,
    CursorBeyondEnd,
    ParleyError,
    RequestIdReused,
    TooManyMembers,
    UserNotFound,
)
from service.domain.hashes import RequestHasher
from service.domain.membership import (
    check_group_action,
    decide_add,
    decide_delete,
    decide_departure,
    decide_remove,
    decide_role,
)
from service.domain.permissions import Action
from storage.errors import Absent, UserAbsent
from storage.postgres.conversations.conversations import Conversations
from storage.postgres.conversations.members import Decide, Members
from storage.records import Conversation, Entry, Member, MembershipResult, Outcome, ReadPosition, Role

PublishEntries = Callable[[Sequence[Entry]], None]
PublishMemberships = Callable[[Sequence[str]], None]


@dataclass(frozen=True, slots=True)
class Created:
    """A group, and whether an earlier call with this request id had made it."""

    conversation: Conversation
    is_deduplicated: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """The entry that a membership request made.

    Attributes:
        entry: None when there was nothing to change.
        is_deduplicated: whether an earlier call with this request id had made it.
    """

    entry: Entry | None
    is_deduplicated: bool


class ConversationService:
    """The verbs. Each one raises ConversationNotFound when the caller is not in the conversation, or there is none.

    Args:
        hasher: makes the hashes by which repeats are compared.
        max_members: members of a group at most.
        publish_entries: publishes committed entries, in order; does not wait.
        publish_memberships: publishes that the memberships of these users have changed; does not wait. Where a worker
            dies before it publishes, the commit feed and the membership versions show the change.
        on_read: called with (conversation, user) when a read position has moved.
    """

    def __init__(
        self,
        conversations: Conversations,
        members: Members,
        hasher: RequestHasher,
        *,
        max_members: int,
        publish_entries: PublishEntries,
        publish_memberships: PublishMemberships,
        on_read: Callable[[str, str], None],
    ) -> None:
        self._conversations = conversations
        self._members = members
        self._hasher = hasher
        self._max_members = max_members
        self._publish_entries = publish_entries
        self._on_read = on_read
        self._publish_memberships = publish_memberships

    async def create(
        self, caller: str, *, title: str, members: Sequence[str], history_visible: bool, request_id: str
    ) -> Created:
        """Makes a group whose owner is the caller.

        Args:
            members: user names, each once, sorted; the caller may be among them.
            request_id: "": a repeat makes another group.

        Raises:
            UserNotFound, TooManyMembers, RequestIdReused: nothing is made.
            ConversationNotFound: a repeat of a call whose group was deleted, or left by the caller, since.
        """
        others = [username for username in members if username != caller]
        if len(others) + 1 > self._max_members:
            raise TooManyMembers(self._max_members)
        request_hash = self._hasher.digest(
            b"create", title.encode(), b"%d" % history_visible, "\n".join(others).encode()
        )
        with _user_absent_told():
            creation = await self._conversations.create_group(
                secrets.token_hex(10),
                caller,
                others=others,
                title=title,
                history_visible=history_visible,
                request_id=request_id or None,
                request_hash=request_hash if request_id else None,
            )
        if creation.outcome == Outcome.REUSED:
            raise RequestIdReused(request_id)
        if creation.outcome == Outcome.STORED:
            self._publish_memberships(sorted({caller, *others}))
        conversation = await self.get(caller, creation.conversation_id)
        return Created(conversation, creation.outcome == Outcome.DUPLICATE)

    async def get(self, caller: str, conversation_id: str) -> Conversation:
        """Reads one conversation as the caller sees it."""
        with _absent_told(conversation_id):
            return await self._conversations.get(conversation_id, caller)

    async def list_page(
        self, caller: str, *, page_size: int, after: tuple[datetime, str] | None
    ) -> tuple[list[Conversation], str]:
        """Lists the caller's conversations, newest activity first, with the token of the next page; "" at the end.

        Args:
            after: the last one of the page before, as a page token has it; None: the first page.
        """
        found, has_more = await self._conversations.list_page(caller, after=after, limit=page_size)
        if not has_more:
            return found, ""
        return found, page_tokens.to_conversations_token(found[-1].last_time, found[-1].conversation_id)

    async def update(
        self, caller: str, conversation_id: str, *, title: str | None, history_visible: bool | None
    ) -> Conversation:
        """Changes what is given of a group.

        Raises:
            DirectConversation, RoleTooLow: nothing is changed.
        """
        check = partial(check_group_action, conversation_id=conversation_id, action=Action.UPDATE)
        with _absent_told(conversation_id):
            await self._conversations.update(
                conversation_id, caller, title=title, history_visible=history_visible, check=check
            )
        return await self.get(caller, conversation_id)

    async def delete(self, caller: str, conversation_id: str) -> None:
        """Deletes a group for all, or hides a direct conversation for the caller.

        Raises:
            RoleTooLow: only an OWNER deletes a group.
        """
        if checks.direct_members(conversation_id):
            with _absent_told(conversation_id):
                await self._conversations.hide(conversation_id, caller)
            self._publish_memberships([caller])
            return
        await self._change(
            caller, conversation_id, "", b"delete", [], partial(decide_delete, conversation_id=conversation_id)
        )

    async def add_members(
        self, caller: str, conversation_id: str, usernames: Sequence[str], *, role: Role, request_id: str
    ) -> Changed:
        """Adds users to a group; those who are in stay as they are.

        Raises:
            UserNotFound, DirectConversation, RoleTooLow, TooManyMembers, RequestIdReused: nobody is added.
        """
        decide = partial(
            decide_add,
            conversation_id=conversation_id,
            usernames=usernames,
            role=role,
            max_members=self._max_members,
        )
        with _user_absent_told():
            return await self._change(caller, conversation_id, request_id, b"add %d" % role, usernames, decide)

    async def remove_members(
        self, caller: str, conversation_id: str, usernames: Sequence[str], *, request_id: str
    ) -> Changed:
        """Takes users out of a group, or lets the caller leave.

        Raises:
            MemberNotFound, DirectConversation, RoleTooLow, LastOwner, RequestIdReused: nobody is taken out.
        """
        decide = partial(decide_remove, conversation_id=conversation_id, caller=caller, usernames=usernames)
        return await self._change(caller, conversation_id, request_id, b"remove", usernames, decide)

    async def update_member(
        self, caller: str, conversation_id: str, username: str, *, role: Role, request_id: str
    ) -> tuple[Member | None, Changed]:
        """Changes the role of a member; returns the member as it is then.

        The member is None for a repeat when one of the two has gone since.

        Raises:
            MemberNotFound, DirectConversation, RoleTooLow, LastOwner, RequestIdReused: nothing is changed.
        """
        decide = partial(decide_role, conversation_id=conversation_id, username=username, role=role)
        changed = await self._change(caller, conversation_id, request_id, b"role %d" % role, [username], decide)
        return await self._members.find_member(conversation_id, caller, username), changed

    async def list_members(
        self, caller: str, conversation_id: str, *, page_size: int, after: str
    ) -> tuple[list[Member], str]:
        """Lists members by name, with the token of the next page; "" at the end.

        Args:
            after: the last user name of the page before; "": the first page.
        """
        with _absent_told(conversation_id):
            found = await self._members.list_page(conversation_id, caller, after=after, limit=page_size + 1)
        if len(found) <= page_size:
            return found, ""
        return found[:page_size], page_tokens.to_members_token(found[page_size - 1].username)

    async def mark_read(self, caller: str, conversation_id: str, seq: int) -> ReadPosition:
        """Moves the caller's read position up to seq; a lower seq changes nothing.

        Raises:
            CursorBeyondEnd: the seq is above the end.
        """
        with _absent_told(conversation_id):
            position = await self._members.mark_read(conversation_id, caller, seq)
        if seq > position.last_seq:
            raise CursorBeyondEnd(conversation_id, position.last_seq)
        if position.is_moved:
            self._on_read(conversation_id, caller)
        return position

    async def mark_all_read(
        self, caller: str, seqs: Mapping[str, int], *, on_refused: Callable[[ParleyError], None]
    ) -> None:
        """Moves the caller's read positions in several conversations, one after the other.

        Args:
            seqs: up to where the caller has read, by conversation.
            on_refused: called with each refusal of `mark_read`; the other conversations go on.
        """
        for conversation_id, seq in seqs.items():
            try:
                await self.mark_read(caller, conversation_id, seq)
            except ParleyError as refusal:
                on_refused(refusal)

    async def leave_all(self, username: str) -> None:
        """Takes one whose account is deleted out of all groups; direct conversations stay.

        Where the user is the last owner, the member with the highest role, of those the one who joined first, becomes
        OWNER before. Idempotent; call it after the deletion's commit, since until then somebody can add the user.
        """
        for conversation_id in await self._conversations.list_group_ids(username):
            decide = partial(decide_departure, caller=username)
            await self._change(username, conversation_id, "", b"depart", [username], decide)

    async def _change(
        self,
        caller: str,
        conversation_id: str,
        request_id: str,
        verb: bytes,
        usernames: Sequence[str],
        decide: Decide,
    ) -> Changed:
        """Changes who is in, and announces it."""
        result = await self._members.change(
            conversation_id,
            caller,
            request_id=request_id or secrets.token_hex(12),
            request_hash=self._hasher.digest(b"membership", verb, "\n".join(usernames).encode()),
            usernames=usernames,
            decide=decide,
        )
        self._announce(result)
        if result.outcome == Outcome.NO_CONVERSATION:
            raise ConversationNotFound(conversation_id)
        if result.outcome == Outcome.REUSED:
            raise RequestIdReused(request_id)
        entry = result.entries[-1] if result.entries else None
        return Changed(entry, result.outcome == Outcome.DUPLICATE)

    def _announce(self, result: MembershipResult) -> None:
        """Publishes committed entries; those of a repeated request were published by the first one, or by the feed."""
        if result.outcome != Outcome.STORED:
            return
        if result.entries:
            self._publish_entries(result.entries)
        if result.moved:
            self._publish_memberships(result.moved)


@contextmanager
def _absent_told(conversation_id: str) -> Iterator[None]:
    try:
        yield
    except Absent as error:
        raise ConversationNotFound(conversation_id) from error


@contextmanager
def _user_absent_told() -> Iterator[None]:
    try:
        yield
    except UserAbsent as error:
        raise UserNotFound(error.username) from error
