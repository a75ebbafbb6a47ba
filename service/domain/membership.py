"""What a request changes in a conversation's membership, or why not. Pure: from a MembershipView to MembershipChanges.

Refusals come in this order: the conversation is not there for the caller, it is a direct one, the caller's role, what
the request names. Storage asks these while it holds the conversation's lock (`conversations/members.py`).
"""

from collections.abc import Sequence

from service.domain.errors import (
    ConversationNotFound,
    DirectConversation,
    LastOwner,
    MemberNotFound,
    RoleTooLow,
    TooManyMembers,
)
from service.domain.permissions import Action, is_led, may, may_act_on, may_give
from storage.records import ConversationKind, MembershipAction, MembershipChange, MembershipView, Role


def check_group_action(view: MembershipView, conversation_id: str, action: Action) -> None:
    """Refuses what the caller may not do in this group.

    Raises:
        ConversationNotFound: the caller is not in it.
        DirectConversation: it is no group.
        RoleTooLow: the caller's role does not allow it.
    """
    if view.caller_role == Role.GONE:
        raise ConversationNotFound(conversation_id)
    if view.kind == ConversationKind.DIRECT:
        raise DirectConversation(action.value)
    if not may(view.caller_role, action):
        raise RoleTooLow(action.value, view.caller_role.name)


def decide_add(
    view: MembershipView, conversation_id: str, usernames: Sequence[str], role: Role, *, max_members: int
) -> list[MembershipChange]:
    """Adds those who are not in; nothing when all are.

    Raises:
        TooManyMembers: there would be more than max_members; besides the refusals of `check_group_action`.
    """
    check_group_action(view, conversation_id, Action.ADD_MEMBERS)
    if not may_give(view.caller_role, role):
        raise RoleTooLow(f"give the role {role.name}", view.caller_role.name)
    added = [username for username in sorted(usernames) if view.roles[username] == Role.GONE]
    if not added:
        return []
    if view.member_count + len(added) > max_members:
        raise TooManyMembers(max_members)
    return [MembershipChange(MembershipAction.ADDED, tuple(added), role)]


def decide_remove(
    view: MembershipView, conversation_id: str, caller: str, usernames: Sequence[str]
) -> list[MembershipChange]:
    """Takes users out; everybody may leave.

    Raises:
        MemberNotFound: one of them is not in.
        LastOwner: others would be left without an owner; besides the refusals of `check_group_action`.
    """
    is_leaving = list(usernames) == [caller]
    check_group_action(view, conversation_id, Action.LEAVE if is_leaving else Action.REMOVE_MEMBERS)
    for username in usernames:
        target = view.roles[username]
        if target == Role.GONE:
            raise MemberNotFound(username)
        if username != caller and not may_act_on(view.caller_role, target):
            raise RoleTooLow(f"remove an {target.name}", view.caller_role.name)
    if Role.OWNER in view.roles.values() and not is_led(view.successor_role):
        raise LastOwner
    return [MembershipChange(MembershipAction.REMOVED, tuple(sorted(usernames)), Role.GONE)]


def decide_role(view: MembershipView, conversation_id: str, username: str, role: Role) -> list[MembershipChange]:
    """Changes the role of a member; does nothing when the member has that role.

    Raises:
        MemberNotFound: the user is not in.
        LastOwner: no owner would be left; besides the refusals of `check_group_action`.
    """
    check_group_action(view, conversation_id, Action.UPDATE_MEMBER)
    target = view.roles[username]
    if target == Role.GONE:
        raise MemberNotFound(username)
    if not may_act_on(view.caller_role, target):
        raise RoleTooLow(f"change an {target.name}'s role", view.caller_role.name)
    if not may_give(view.caller_role, role):
        raise RoleTooLow(f"give the role {role.name}", view.caller_role.name)
    if target == role:
        return []
    if target == Role.OWNER and not is_led(max(view.successor_role, role)):
        raise LastOwner
    return [MembershipChange(MembershipAction.ROLE_CHANGED, (username,), role)]


def decide_delete(view: MembershipView, conversation_id: str) -> list[MembershipChange]:
    """Ends a group; the refusals are those of `check_group_action`."""
    check_group_action(view, conversation_id, Action.DELETE)
    return [MembershipChange(MembershipAction.CONVERSATION_DELETED, (), Role.GONE)]


def decide_departure(view: MembershipView, caller: str) -> list[MembershipChange]:
    """Takes out one whose account ends: a last owner first makes the successor OWNER. Never refuses."""
    if view.caller_role == Role.GONE or view.kind == ConversationKind.DIRECT:
        return []
    departure = MembershipChange(MembershipAction.REMOVED, (caller,), Role.GONE)
    if view.caller_role == Role.OWNER and view.successor is not None and not is_led(view.successor_role):
        return [MembershipChange(MembershipAction.ROLE_CHANGED, (view.successor,), Role.OWNER), departure]
    return [departure]
