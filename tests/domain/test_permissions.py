from hypothesis import given
from hypothesis import strategies as st

from service.domain.permissions import TABLE, Action, is_led, may, may_act_on, may_give
from storage.records import Role

roles = st.sampled_from(Role)
actions = st.sampled_from(Action)

# The rows are the contract's words (message.proto, MemberRole); an action that is missing here is not allowed.
EXPECTED = {
    Role.GONE: "",
    Role.READER: "READ MARK_READ LEAVE",
    Role.MEMBER: "READ MARK_READ LEAVE SEND",
    Role.ADMIN: "READ MARK_READ LEAVE SEND UPDATE ADD_MEMBERS REMOVE_MEMBERS UPDATE_MEMBER",
    Role.OWNER: "READ MARK_READ LEAVE SEND UPDATE ADD_MEMBERS REMOVE_MEMBERS UPDATE_MEMBER DELETE",
}


def test_table_is_the_contracts():
    assert {role: " ".join(action.name for action in Action if may(role, action)) for role in Role} == EXPECTED


def test_table_has_a_row_for_every_role():
    assert set(TABLE) == set(Role)


@given(roles, roles, actions)
def test_higher_role_may_all_that_the_lower_may(one: Role, other: Role, action: Action):
    low, high = sorted((one, other))
    assert may(high, action) or not may(low, action)


@given(roles, roles)
def test_nobody_acts_on_one_above_nor_without_the_role_for_it(role: Role, target: Role):
    if may_act_on(role, target):
        assert target <= role
        assert role >= Role.ADMIN


@given(roles, roles)
def test_nobody_gives_a_role_above_the_own(role: Role, given_role: Role):
    if may_give(role, given_role):
        assert given_role <= role
        assert role >= Role.ADMIN


@given(roles)
def test_former_members_can_neither_be_acted_on_nor_made(role: Role):
    assert not may_act_on(role, Role.GONE)
    assert not may_give(role, Role.GONE)


@given(st.lists(roles, max_size=5))
def test_group_is_led_when_it_has_an_owner_or_nobody(members: list[Role]):
    current = [role for role in members if role != Role.GONE]
    assert is_led(max(members, default=Role.GONE)) == (not current or Role.OWNER in current)


def test_admins_and_owners_act_on_and_give_roles_up_to_their_own_and_nobody_else_does():
    up_to = {Role.ADMIN: {Role.READER, Role.MEMBER, Role.ADMIN}, Role.OWNER: set(Role) - {Role.GONE}}
    for role in Role:
        assert {target for target in Role if may_act_on(role, target)} == up_to.get(role, set())
        assert {given_role for given_role in Role if may_give(role, given_role)} == up_to.get(role, set())
