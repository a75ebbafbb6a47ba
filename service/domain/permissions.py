"""Who may do what in a conversation: one table, and the rules for who may change whom. Pure and total.

GONE, a former member or somebody who never was one, may do nothing; to that user the conversation is not there.
"""

from enum import Enum

from storage.records import Role


class Action(Enum):
    """What can be done in a conversation; the value is the verb that refusals show."""

    READ = "read"
    MARK_READ = "mark as read"
    LEAVE = "leave"
    SEND = "send"
    UPDATE = "change the conversation"
    ADD_MEMBERS = "add members"
    REMOVE_MEMBERS = "remove members"
    UPDATE_MEMBER = "change roles"
    DELETE = "delete the conversation"


_READER = frozenset({Action.READ, Action.MARK_READ, Action.LEAVE})
_MEMBER = _READER | {Action.SEND}
_ADMIN = _MEMBER | {Action.UPDATE, Action.ADD_MEMBERS, Action.REMOVE_MEMBERS, Action.UPDATE_MEMBER}
_OWNER = _ADMIN | {Action.DELETE}

TABLE: dict[Role, frozenset[Action]] = {
    Role.GONE: frozenset(),
    Role.READER: _READER,
    Role.MEMBER: _MEMBER,
    Role.ADMIN: _ADMIN,
    Role.OWNER: _OWNER,
}


def may(role: Role, action: Action) -> bool:
    """Whether a member with this role may do it at all."""
    return action in TABLE[role]


def may_act_on(role: Role, target: Role) -> bool:
    """Whether a member may remove, or give another role to, one with the target role: nobody above the own."""
    return may(role, Action.REMOVE_MEMBERS) and Role.GONE < target <= role


def may_give(role: Role, given: Role) -> bool:
    """Whether a member may add somebody with that role, or give it: none above the own, and GONE is no role."""
    return may(role, Action.ADD_MEMBERS) and Role.GONE < given <= role


def is_led(highest: Role) -> bool:
    """Whether a group whose highest role is this one may stay so: it is empty (GONE), or has an owner."""
    return highest in (Role.GONE, Role.OWNER)
