"""Deletes an account for an operator, and goes on until nothing of it is left."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from service.auth.accounts import USER_TOKEN_LIFE
from service.cli.admin.opening import open_database, to_name
from service.cli.admin.users import now
from service.conversations.service import ConversationService
from service.delivery.erasure import Eraser
from service.domain.hashes import RequestHasher
from service.settings.start_error import StartError
from service.settings.tree import Settings
from storage.errors import Absent
from storage.postgres.accounts.accounts import Accounts
from storage.postgres.accounts.erasure import Erasures
from storage.postgres.connections.database import Database
from storage.postgres.connections.lock_waits import retry_while_locked
from storage.postgres.conversations.conversations import Conversations
from storage.postgres.conversations.members import Members
from storage.postgres.schema.migrate import read_deployment


@dataclass(frozen=True, slots=True)
class Deleted:
    """What became of an account.

    Attributes:
        is_new: it was there until now; else this went on with what was left.
        groups: those that the user was in.
        messages: how many lost their content.
    """

    is_new: bool
    groups: int
    messages: int


async def delete_user(
    settings: Settings, name: str, *, with_messages: bool, on_progress: Callable[[int], None]
) -> Deleted:
    """Deletes an account: its name is never given again, its logins end, it leaves all groups, what it kept goes.

    Where the user was the last owner of a group, the member with the highest role becomes OWNER. Safe to repeat: what a
    killed command left is gone on with, by the next one or by a running server.

    Args:
        with_messages: take the content out of all messages of the user, too, in small batches.
        on_progress: called now and then with the count of messages that lost their content.

    Raises:
        StartError: there never was such an account; or the database fails: then what was done stays done.
    """
    username = to_name(name)
    async with open_database(settings) as database:
        accounts, erasures = Accounts(database), Erasures(database)
        user = await accounts.find_user(username)
        if user is None:
            raise StartError(f"there is no account {username}")
        leave_all = await _leaver(database)
        groups = await Conversations(database).list_group_ids(username)
        await leave_all(username)
        try:
            await retry_while_locked(partial(accounts.delete_user, username, clock=now, token_life=USER_TOKEN_LIFE))
            is_new = True
        except Absent:
            is_new = False
        if with_messages:
            await erasures.request_messages(username)
        messages = 0

        def tell(count: int) -> None:
            nonlocal messages
            if count > messages:
                messages = count
                on_progress(count)

        await Eraser(erasures, leave_all).finish(username, tell)
    return Deleted(is_new, len(groups), messages)


async def _leaver(database: Database) -> Callable[[str], Awaitable[object]]:
    """What takes a user out of groups; running servers learn of it from the commit feed."""
    async with database.acquire() as connection:
        deployment = await read_deployment(connection)
    conversations = ConversationService(
        Conversations(database),
        Members(database),
        RequestHasher(deployment.hash_key),
        max_members=0,  # nobody is added
        publish_entries=lambda _: None,
        publish_memberships=lambda _: None,
        on_read=lambda *_: None,
    )
    return conversations.leave_all
