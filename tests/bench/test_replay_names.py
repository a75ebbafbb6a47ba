"""The mapping of nicknames to user names is one to one, legal and the same in every run."""

from hypothesis import example, given
from hypothesis import strategies as st

from bench.replay.names import HOST, LISTENER, make_names
from service.domain.checks import to_username

NICKNAMES = st.text(
    alphabet=st.one_of(st.sampled_from("aAbB01_.-|[]{}^`\\ "), st.characters(exclude_categories=["Cs"])), max_size=40
)


@given(st.sets(NICKNAMES, max_size=30))
@example({"Ada", "ada", "ADA", "a_a", "a|a", "a[a"})
@example({"", "-", "_", "__", "x", "X", "x__"})
@example({"replay.host", "replay.listener", "Replay.host"})
@example({"[`[``|", "}}\\][\\"})  # the same stem, and digests that begin alike
@example({"a" * 33, "a" * 34, "a" * 32})
def test_names_are_legal_and_one_to_one(nicknames: set[str]) -> None:
    names = make_names(nicknames)
    assert set(names) == nicknames
    assert len(set(names.values())) == len(nicknames)
    assert not {HOST, LISTENER} & set(names.values())
    for name in names.values():
        assert to_username(name) == name


@given(st.sets(NICKNAMES, min_size=1, max_size=10), st.sets(NICKNAMES, max_size=10))
def test_name_does_not_depend_on_the_other_nicknames(some: set[str], others: set[str]) -> None:
    assert make_names(some).items() <= make_names(some | others).items()


def test_legal_nickname_is_its_own_name() -> None:
    assert make_names(["ada", "b0b-_x", "9lives"]) == {"ada": "ada", "b0b-_x": "b0b-_x", "9lives": "9lives"}


def test_nickname_that_looks_derived_gets_another_name() -> None:
    derived = make_names(["Ada"])["Ada"]
    names = make_names(["Ada", derived])
    assert names["Ada"] == derived
    assert names[derived] != derived


def test_derived_name_can_be_read() -> None:
    assert make_names(["|Ada[work]"])["|Ada[work]"].startswith("x_ada_work_.")
