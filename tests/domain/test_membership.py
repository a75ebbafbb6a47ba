"""The decisions alone: whatever is asked of whatever group, the rules hold for what comes of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.errors import (
    ConversationNotFound,
    DirectConversation,
    LastOwner,
    MemberNotFound,
    ParleyError,
    RoleTooLow,
    TooManyMembers,
)
from service.domain.membership import decide_add, decide_delete, decide_departure, decide_remove, decide_role
from storage.records import ConversationKind, MembershipAction, MembershipChange, MembershipView, Role

GROUP = "g1"
NAMES = ("ann", "bob", "cid", "dan")
MAX_MEMBERS = 4

current_roles = st.sampled_from([Role.READER, Role.MEMBER, Role.ADMIN, Role.OWNER])
groups = st.dictionaries(st.sampled_from(NAMES), current_roles).filter(
    lambda members: not members or Role.OWNER in members.values()
)
requests = st.one_of(
    st.tuples(st.just("add"), st.sets(st.sampled_from(NAMES), min_size=1), current_roles),
    st.tuples(st.just("remove"), st.sets(st.sampled_from(NAMES), min_size=1), st.just(Role.GONE)),
    st.tuples(st.just("role"), st.sets(st.sampled_from(NAMES), min_size=1, max_size=1), current_roles),
    st.tuples(st.just("delete"), st.just(set()), st.just(Role.GONE)),
    st.tuples(st.just("depart"), st.just(set()), st.just(Role.GONE)),
)


def standing_of(members: dict[str, Role], caller: str, named: list[str]) -> MembershipView:
    others = [name for name in NAMES if name in members and name not in named]
    successor = max(others, key=lambda name: members[name], default=None)
    return MembershipView(
        kind=ConversationKind.GROUP,
        member_count=len(members),
        caller_role=members.get(caller, Role.GONE),
        roles={name: members.get(name, Role.GONE) for name in named},
        successor=successor,
        successor_role=Role.GONE if successor is None else members[successor],
    )


def decide(members: dict[str, Role], caller: str, verb: str, named: list[str], role: Role) -> list[MembershipChange]:
    view = standing_of(members, caller, [caller] if verb == "depart" else named)
    match verb:
        case "add":
            return decide_add(view, GROUP, named, role, max_members=MAX_MEMBERS)
        case "remove":
            return decide_remove(view, GROUP, caller, named)
        case "role":
            return decide_role(view, GROUP, named[0], role)
        case "delete":
            return decide_delete(view, GROUP)
        case _:
            return decide_departure(view, caller)


def after(members: dict[str, Role], changes: list[MembershipChange]) -> dict[str, Role]:
    members = dict(members)
    for change in changes:
        if change.action == MembershipAction.CONVERSATION_DELETED:
            members.clear()
        for name in change.members:
            members[name] = change.role
    return {name: role for name, role in members.items() if role != Role.GONE}


@settings(max_examples=500)
@given(groups, st.sampled_from(NAMES), requests)
def test_rules_hold_for_whatever_is_asked(members, caller, request):
    verb, named, role = request
    try:
        changes = decide(members, caller, verb, sorted(named), role)
    except ParleyError:
        return
    result = after(members, changes)
    assert not result or Role.OWNER in result.values()
    assert len(result) <= MAX_MEMBERS
    own = members.get(caller, Role.GONE)
    for name in NAMES if verb != "depart" else ():
        if (old := members.get(name, Role.GONE)) != (new := result.get(name, Role.GONE)):
            assert old <= own
            assert new <= own
            assert own >= Role.ADMIN or (name == caller and new == Role.GONE)
    for change in changes:
        assert list(change.members) == sorted(change.members)


@given(groups, st.sampled_from(NAMES))
def test_everybody_may_leave_but_the_last_owner_of_others(members, caller):
    is_last_owner = members.get(caller) == Role.OWNER and list(members.values()).count(Role.OWNER) == 1
    if caller in members and not (is_last_owner and len(members) > 1):
        assert caller not in after(members, decide(members, caller, "remove", [caller], Role.GONE))
    else:
        with pytest.raises(ParleyError):
            decide(members, caller, "remove", [caller], Role.GONE)


@given(groups, st.sampled_from(NAMES))
def test_departure_is_never_refused_and_leaves_an_owner(members, caller):
    result = after(members, decide(members, caller, "depart", [], Role.GONE))
    assert set(result) == set(members) - {caller}
    assert not result or Role.OWNER in result.values()


def test_those_who_are_in_are_left_as_they_are():
    members = {"ann": Role.OWNER, "bob": Role.READER}
    (change,) = decide(members, "ann", "add", ["bob", "cid"], Role.ADMIN)
    assert change == MembershipChange(MembershipAction.ADDED, ("cid",), Role.ADMIN)
    assert decide(members, "ann", "add", ["ann", "bob"], Role.ADMIN) == []


def test_full_group_takes_nobody():
    view = standing_of({"ann": Role.OWNER, "bob": Role.MEMBER}, "ann", ["cid"])
    with pytest.raises(TooManyMembers):
        decide_add(view, GROUP, ["cid"], Role.MEMBER, max_members=2)


@pytest.mark.parametrize("verb", ["add", "remove", "role", "delete"])
def test_direct_conversation_has_no_membership_to_change(verb):
    view = MembershipView(ConversationKind.DIRECT, 2, Role.MEMBER, {"bob": Role.MEMBER}, "ann", Role.MEMBER)
    with pytest.raises(DirectConversation):
        {
            "add": lambda: decide_add(view, "ann:bob", ["bob"], Role.MEMBER, max_members=5),
            "remove": lambda: decide_remove(view, "ann:bob", "ann", ["bob"]),
            "role": lambda: decide_role(view, "ann:bob", "bob", Role.OWNER),
            "delete": lambda: decide_delete(view, "ann:bob"),
        }[verb]()


def test_last_owner_can_not_give_up_the_role():
    with pytest.raises(LastOwner):
        decide({"ann": Role.OWNER}, "ann", "role", ["ann"], Role.MEMBER)
    with pytest.raises(LastOwner):
        decide({"ann": Role.OWNER, "bob": Role.ADMIN}, "ann", "role", ["ann"], Role.MEMBER)
    assert decide({"ann": Role.OWNER, "bob": Role.OWNER}, "ann", "role", ["ann"], Role.MEMBER)


def test_admin_can_not_touch_an_owner_and_one_who_is_not_in_is_named():
    members = {"ann": Role.OWNER, "bob": Role.ADMIN, "dan": Role.OWNER}
    with pytest.raises(RoleTooLow):
        decide(members, "bob", "remove", ["ann"], Role.GONE)
    with pytest.raises(RoleTooLow):
        decide(members, "bob", "role", ["ann"], Role.MEMBER)
    with pytest.raises(MemberNotFound, match="cid"):
        decide(members, "bob", "remove", ["cid"], Role.GONE)


@pytest.mark.parametrize("verb", ["add", "remove", "role", "delete"])
def test_one_who_is_not_in_is_not_told_that_there_is_a_group(verb):
    with pytest.raises(ConversationNotFound, match=GROUP):
        decide({"ann": Role.OWNER}, "bob", verb, ["ann"], Role.MEMBER)


def test_nobody_gives_a_role_above_the_own():
    members = {"ann": Role.OWNER, "bob": Role.ADMIN, "cid": Role.MEMBER}
    for verb, name in (("add", "dan"), ("role", "cid"), ("role", "bob")):
        with pytest.raises(RoleTooLow, match="give the role OWNER"):
            decide(members, "bob", verb, [name], Role.OWNER)
        assert decide(members, "ann", verb, [name], Role.OWNER)


def test_group_may_be_filled_to_the_last_place():
    view = standing_of({"ann": Role.OWNER, "bob": Role.MEMBER}, "ann", ["cid", "dan"])
    assert decide_add(view, GROUP, ["cid", "dan"], Role.MEMBER, max_members=4)
    with pytest.raises(TooManyMembers):
        decide_add(view, GROUP, ["cid", "dan"], Role.MEMBER, max_members=3)


def test_role_of_one_who_is_not_in_is_no_matter_and_the_same_role_is_no_change():
    members = {"ann": Role.OWNER, "bob": Role.MEMBER}
    with pytest.raises(MemberNotFound, match="cid"):
        decide(members, "ann", "role", ["cid"], Role.MEMBER)
    assert decide(members, "ann", "role", ["bob"], Role.MEMBER) == []


def test_departure_takes_nobody_out_of_a_direct_conversation_nor_one_who_has_left():
    direct = MembershipView(ConversationKind.DIRECT, 2, Role.MEMBER, {"ann": Role.MEMBER}, "bob", Role.MEMBER)
    assert decide_departure(direct, "ann") == []
    assert decide({"ann": Role.OWNER}, "bob", "depart", [], Role.GONE) == []
