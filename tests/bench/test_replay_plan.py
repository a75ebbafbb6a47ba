"""What a log means for its group."""

from bench.replay.irc import parse_log
from bench.replay.names import HOST, make_names
from bench.replay.plan import Join, Leave, Plan, Say, make_plan, make_unordered_plan, nicknames_of


def plan_of(text: str, *, unordered: bool = False) -> Plan:
    log = parse_log(text)
    make = make_unordered_plan if unordered else make_plan
    return make("room", log, make_names(nicknames_of(log)))


def test_speakers_are_in_from_the_start_unless_they_are_seen_joining() -> None:
    plan = plan_of("[01:00] <ada> hi\n=== bob  has joined #r\n[01:01] <bob> hello\n=== eve  has left #r []\n")
    assert plan.initial == ("ada", "eve")
    assert plan.steps == (
        Say(1, 60, "ada", "message", "hi"),
        Join(2, 60, "bob"),
        Say(3, 61, "bob", "message", "hello"),
        Leave(4, 61, "eve", actor="eve"),
    )
    assert plan.speakers == ("ada", "bob")


def test_nickname_change_is_a_leaving_and_a_coming() -> None:
    plan = plan_of("=== ada is now known as ada_away\n[01:00] <ada_away> zzz\n")
    assert plan.initial == ("ada",)
    assert plan.steps[:2] == (Leave(1, 0, "ada", actor="ada"), Join(1, 0, "ada_away"))


def test_nickname_change_to_somebody_who_is_in_only_takes_the_old_one_out() -> None:
    plan = plan_of("[01:00] <ada> a\n[01:00] <bob> b\n=== bob is now known as ada\n")
    assert plan.steps[2:] == (Leave(3, 60, "bob", actor="bob"),)
    assert plan.counts.changes_without_effect == 1


def test_kicked_one_is_removed_by_the_host() -> None:
    assert plan_of("=== bob was kicked off #r by ada (spam)\n").steps == (Leave(1, 0, "bob", actor=HOST),)


def test_join_of_somebody_who_vanished_unseen_has_no_effect() -> None:
    plan = plan_of("[01:00] <ada> a\n=== ada  has joined #r\n[01:00] <ada> b\n")
    assert [type(step) for step in plan.steps] == [Say, Say]
    assert plan.counts.changes_without_effect == 1


def test_who_speaks_after_leaving_is_added_first() -> None:
    plan = plan_of("[01:00] <ada> a\n=== ada  has left #r []\n[01:02] <ada> b\n")
    assert plan.steps[1:] == (Leave(2, 60, "ada", "ada"), Join(3, 62, "ada"), Say(3, 62, "ada", "message", "b"))
    assert plan.counts.unseen_joins == 1


def test_unordered_plan_has_all_speakers_in_and_no_changes() -> None:
    plan = plan_of("=== bob  has joined #r\n[01:00] <bob> b\n[01:00] <ada> a\n=== cy  has joined #r\n", unordered=True)
    assert plan.initial == plan.speakers == ("ada", "bob")
    assert [step.number for step in plan.steps] == [2, 3]
