"""Who is in which groups, where everybody is to be in as many. Pure."""

import random
from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


def deal(people: Sequence[_T], groups_each: int, group_size: int, seed: int = 1) -> list[list[_T]]:
    """Deals people into groups of `group_size`, so that each is in `groups_each`; the same ones for the same seed.

    Where the number of people is no multiple of the size, the last group of each round is smaller, and at least two.
    """
    lot = random.Random(seed)  # noqa: S311 - a deal that can be repeated, no secret
    dealt: list[list[_T]] = []
    for _ in range(groups_each):
        shuffled = lot.sample(people, len(people))
        rounds = [shuffled[at : at + group_size] for at in range(0, len(shuffled), group_size)]
        if len(rounds) > 1 and len(rounds[-1]) < 2:
            last = rounds.pop()
            rounds[-1] += last
        dealt += rounds
    return dealt
