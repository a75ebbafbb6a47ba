"""The conversation that is on the screen: its people, who of them is there, who writes."""

import datetime
import time
from dataclasses import dataclass, field

from parley.v1 import conversation_pb2, presence_pb2

from terminal_chat.text import to_safe_line

TYPING_LASTS_SECONDS = 10.0
"""Without another sign, somebody who wrote has stopped."""


@dataclass(slots=True)
class Room:
    """A conversation and what is known of it now.

    Attributes:
        conversation_id: the server's id, "alice:bob" for a direct one.
        title: what to call it; safe.
        members: the first ones by name; the server's limit for a watch is their limit, too.
        names: user name -> what to call the user; safe.
        presence: user name -> presence, of those who are known.
        oldest_seq: the oldest entry on the screen; 0 when there is none.
        typing: user name -> until when (monotonic seconds).
    """

    conversation_id: str
    title: str
    members: list[conversation_pb2.Member] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    presence: dict[str, presence_pb2.Presence] = field(default_factory=dict)
    oldest_seq: int = 0
    typing: dict[str, float] = field(default_factory=dict)

    def set_members(self, members: list[conversation_pb2.Member]) -> None:
        """Takes the members; a display name never hides whose it is."""
        self.members = members
        self.names = {
            member.username: f"{to_safe_line(member.display_name)} ({member.username})"
            if member.display_name and member.display_name != member.username
            else member.username
            for member in members
        }

    def name_of(self, username: str) -> str:
        """Returns what to call a user; safe."""
        return self.names.get(username, to_safe_line(username))

    def take_presence(self, presence: presence_pb2.Presence) -> str:
        """Notes a presence; returns a line when somebody came or went, else ""."""
        before = self.presence.get(presence.username)
        self.presence[presence.username] = presence
        if before is None or before.state == presence.state:
            return ""
        return f"* {self.name_of(presence.username)} is {_STATES[presence.state]}"

    def list_people(self) -> list[str]:
        """Returns a line a member: name, role, presence."""
        unknown = presence_pb2.Presence()
        lines = []
        for member in self.members:
            presence = self.presence.get(member.username, unknown)
            line = f"  {self.name_of(member.username)}: {_STATES.get(presence.state, 'unknown')}"
            if presence.state == presence_pb2.PRESENCE_STATE_OFFLINE and presence.HasField("last_seen_time"):
                line += f", last seen {_to_local(presence)}"
            lines.append(line)
        return lines

    def take_typing(self, username: str, *, is_active: bool) -> None:
        """Notes that somebody writes, or stopped."""
        if is_active:
            self.typing[username] = time.monotonic() + TYPING_LASTS_SECONDS
        else:
            self.typing.pop(username, None)

    def describe_typing(self) -> str:
        """Returns who writes now, such as "bob writes"; "" when nobody does."""
        now = time.monotonic()
        self.typing = {name: until for name, until in self.typing.items() if until > now}
        names = sorted(self.typing)
        if len(names) > 2:
            return f"{len(names)} people write"
        return " and ".join(names) + (" writes" if len(names) == 1 else " write") if names else ""


_STATES = {
    presence_pb2.PRESENCE_STATE_UNSPECIFIED: "unknown",
    presence_pb2.PRESENCE_STATE_UNKNOWN: "unknown",
    presence_pb2.PRESENCE_STATE_OFFLINE: "offline",
    presence_pb2.PRESENCE_STATE_ONLINE: "online",
}


def _to_local(presence: presence_pb2.Presence) -> str:
    return f"{presence.last_seen_time.ToDatetime(tzinfo=datetime.UTC).astimezone():%Y-%m-%d %H:%M}"
