"""Users who are in groups with each other, as scenarios about many people have them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.site import Group, Site
from bench.users import User

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Population:
    """Users and their groups.

    Attributes:
        groups: each group with its members; the first member made it.
    """

    users: Sequence[User]
    groups: Sequence[tuple[Group, Sequence[User]]]

    def list_conversations(self) -> dict[str, list[str]]:
        """Returns the conversations of each user, by the user's name."""
        own: dict[str, list[str]] = {user.name: [] for user in self.users}
        for group, members in self.groups:
            for user in members:
                own[user.name].append(group.conversation)
        return own

    def list_known(self, most: int) -> dict[str, tuple[str, ...]]:
        """Returns others with whom each user shares a group, `most` at most, by the user's name."""
        known: dict[str, set[str]] = {user.name: set() for user in self.users}
        for _, members in self.groups:
            for user in members:
                known[user.name].update(other.name for other in members if other is not user)
        return {name: tuple(sorted(others)[:most]) for name, others in known.items()}


async def make_population(site: Site, count: int, groups_each: int, group_size: int) -> Population:
    """Makes `count` users, and groups so that each user is in `groups_each`.

    Raises:
        BenchError: the site has no more users, or the server refuses a group.
    """
    users = await site.users.take(count)
    dealt = deal(users, groups_each, group_size)
    groups = await site.make_groups([(members[0], [user.name for user in members[1:]]) for members in dealt])
    return Population(users, list(zip(groups, dealt, strict=True)))


def deal(people: Sequence[_T], groups_each: int, group_size: int, seed: int = 1) -> list[list[_T]]:
    """Deals people into groups of `group_size`, so that each is in `groups_each`; the same seed deals the same groups.

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
