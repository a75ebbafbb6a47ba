"""After the commit: each message is encoded once, goes to the sessions here and, as ready bytes, over the bus.

What is lost between commit and publication is found again by its seq.
"""

from collections.abc import Iterable, Mapping, Sequence

from service.convert import responses
from service.convert.items import Item
from service.delivery.bus_messages import (
    DeliveriesReturned,
    LoginsEnded,
    MembershipsChanged,
    TypingChanged,
    publish_entries_nowait,
    publish_nowait,
)
from service.delivery.changed_memberships import ChangedMemberships
from service.delivery.hub import Hub
from storage.records import Entry, Revocation
from storage.redis.bus import Bus

# A bus message takes at most about this much; larger runs become several.
_MESSAGE_BYTES = 512 * 1024


class Fanout:
    """Publishes what was committed."""

    def __init__(self, hub: Hub, changed_memberships: ChangedMemberships, bus: Bus) -> None:
        self._hub = hub
        self._changed_memberships = changed_memberships
        self._bus = bus

    def publish_items(self, by_conversation: Mapping[str, list[Item]]) -> None:
        """Publishes committed messages; those of one conversation are in the order of their seqs."""
        for conversation_id, items in by_conversation.items():
            self._publish(conversation_id, items)

    def publish_entries(self, entries: Sequence[Entry]) -> None:
        """Publishes entries that did not come through the writer: membership changes."""
        for entry in entries:
            self._publish(entry.conversation_id, [responses.entry_item(entry)])

    def publish_memberships(self, usernames: Iterable[str]) -> None:
        """Publishes that these users were added to conversations or removed from them."""
        for username in usernames:
            self._changed_memberships.note(username)
            publish_nowait(self._bus, MembershipsChanged(username))

    def publish_given_back(self, username: str, device_id: str) -> None:
        """Publishes that a device with manual acks has messages that any of its streams may take."""
        publish_nowait(self._bus, DeliveriesReturned(username, device_id))

    def publish_revocation(self, revocation: Revocation) -> None:
        """Publishes that a login has ended, or all logins of a user."""
        publish_nowait(self._bus, LoginsEnded(revocation))

    def publish_typing(self, conversation_id: str, username: str, *, is_active: bool, origin: int) -> None:
        """Publishes that a member types or stopped. Nothing is stored: without the bus there is no typing."""
        publish_nowait(self._bus, TypingChanged(conversation_id, username, is_active, origin))

    def _publish(self, conversation_id: str, items: list[Item]) -> None:
        self._hub.deliver(conversation_id, items)
        for part in _parts(items):
            publish_entries_nowait(self._bus, conversation_id, part)


def deliver_typing(hub: Hub, message: TypingChanged) -> None:
    """Delivers a typing event to the live sessions of the other members here."""
    channel = hub.channels.get(message.conversation_id)
    if channel is None:
        return
    key = (message.conversation_id, message.username)
    body = responses.typing(*key, is_active=message.is_active)
    for session in channel.live:
        if session.username != message.username:
            session.outbox.put_ephemeral(key, body)


def _parts(items: list[Item]) -> list[list[Item]]:
    """Cuts entries where a seq is missing between them, and where a bus message would be too large."""
    parts: list[list[Item]] = []
    size_bytes = 0
    for item in items:
        if not parts or item.seq != parts[-1][-1].seq + 1 or size_bytes > _MESSAGE_BYTES:
            parts.append([])
            size_bytes = 0
        parts[-1].append(item)
        size_bytes += len(item.body)
    return parts
