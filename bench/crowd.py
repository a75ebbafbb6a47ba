"""Users who are in groups with each other, as scenarios about many people have them."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.circles import deal
from bench.site import Group, Site
from bench.users import User


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who is where.

    Attributes:
        circles: each group with those who are in it; the first of them made it.
    """

    users: Sequence[User]
    circles: Sequence[tuple[Group, Sequence[User]]]

    def list_conversations(self) -> dict[str, list[str]]:
        """The conversations of each user, by name."""
        own: dict[str, list[str]] = {user.name: [] for user in self.users}
        for group, circle in self.circles:
            for user in circle:
                own[user.name].append(group.conversation)
        return own

    def list_known(self, most: int) -> dict[str, tuple[str, ...]]:
        """Some others whom each user shares a group with, so many at most, by name."""
        known: dict[str, set[str]] = {user.name: set() for user in self.users}
        for _, circle in self.circles:
            for user in circle:
                known[user.name].update(other.name for other in circle if other is not user)
        return {name: tuple(sorted(others)[:most]) for name, others in known.items()}


async def gather_crowd(site: Site, count: int, groups_each: int, group_size: int) -> Crowd:
    """Makes so many users, and groups so that each is in as many. Raises: BenchError."""
    users = await site.users.take(count)
    circles = deal(users, groups_each, group_size)
    groups = await site.make_groups([(circle[0], [user.name for user in circle[1:]]) for circle in circles])
    return Crowd(users, list(zip(groups, circles, strict=True)))
