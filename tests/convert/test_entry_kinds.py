"""The table of entry kinds against the contract, against SQL, and what each kind does."""

import pytest
from parley.v1 import message_pb2

from service.convert import responses
from service.convert.entry_kinds import KINDS, MembershipEffect, membership_of
from service.convert.messages import to_message
from storage.postgres.connections.database import Database
from storage.records import Entry, EntryKind
from tests.convert.test_messages import TIME

EXTRAS = {"membership": {"action": 1, "members": ["bob"], "role": 2}}


def entry_of(number: int, extras: dict[str, object] | None = None) -> Entry:
    return Entry("g", 4, number, "ann", "r", TIME, 100, extras=extras or EXTRAS)


def test_every_arm_of_the_contract_is_a_row_and_every_row_an_arm() -> None:
    arms = [arm.name for arm in message_pb2.Message.DESCRIPTOR.oneofs_by_name["entry"].fields]
    assert sorted(kind.arm for kind in KINDS.values()) == sorted(arms)
    assert {number: kind.number for number, kind in KINDS.items()} == {number: number for number in KINDS}
    assert set(EntryKind) <= set(KINDS)


@pytest.mark.parametrize("number", KINDS)
def test_entry_of_each_kind_has_its_arm(number: int) -> None:
    assert to_message(entry_of(number)).WhichOneof("entry") == KINDS[number].arm


def test_kind_of_a_newer_version_has_no_arm_and_no_effect() -> None:
    entry = entry_of(max(KINDS) + 1)
    assert to_message(entry).WhichOneof("entry") is None
    assert membership_of(responses.entry_item(entry)) is None


async def test_sql_counts_as_messages_what_the_table_does(module_database: Database) -> None:
    counted = await module_database.fetch(
        "SELECT kind FROM unnest($1::smallint[]) AS kind WHERE counts_as_message(kind)", [*KINDS, max(KINDS) + 1]
    )
    assert {row["kind"] for row in counted} == {number for number, kind in KINDS.items() if kind.counts_as_message}


@pytest.mark.parametrize(
    ("action", "effect"),
    [
        (1, MembershipEffect(added=("bob", "cid"))),
        (2, MembershipEffect(removed=("bob", "cid"))),
        (3, MembershipEffect()),
        (4, MembershipEffect(are_all_removed=True)),
    ],
)
def test_effect_of_a_membership_entry_is_read_from_its_bytes(action: int, effect: MembershipEffect) -> None:
    extras: dict[str, object] = {"membership": {"action": action, "members": ["bob", "cid"], "role": 2}}
    item = responses.entry_item(entry_of(EntryKind.MEMBERSHIP, extras))
    assert (item.seq, item.kind, item.origin) == (4, EntryKind.MEMBERSHIP, 0)
    assert membership_of(item) == effect


def test_message_has_no_effect_whatever_it_holds() -> None:
    assert membership_of(responses.entry_item(entry_of(EntryKind.MESSAGE))) is None
