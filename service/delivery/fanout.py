"""After the commit: each message is encoded once, goes to the sessions here and, as ready bytes, over the bus.

What is lost between commit and publication is found again by its seq.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from service.convert import responses
from service.convert.items import Item
from service.delivery import bus_messages
from service.delivery.attendance import SubscriptionManager, conversation_channel, user_channel
from service.delivery.bus_messages import FrameType
from service.delivery.hub import Hub
from storage.records import Entry, Revocation
from storage.redis.bus import Bus

REVOCATIONS_CHANNEL = "revocations"
# A bus message takes at most about this much; larger runs become several.
_MESSAGE_BYTES = 512 * 1024


class Fanout:
    """Publishes what was committed."""

    def __init__(self, hub: Hub, subscriptions: SubscriptionManager, bus: Bus) -> None:
        self._hub = hub
        self._attendants = subscriptions
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
        """Says that these users were put into conversations, or out of them."""
        for username in usernames:
            self._attendants.refresh(username)
            self._bus.publish_nowait(user_channel(username), b"")

    def publish_given_back(self, username: str, device_id: str) -> None:
        """Says that a device with manual acks has something that any of its streams may take."""
        self._bus.publish_nowait(user_channel(username), device_id.encode())

    def publish_revocation(self, revocation: Revocation) -> None:
        """Says that a login has ended, or all of a user's."""
        self._bus.publish_nowait(REVOCATIONS_CHANNEL, encode_revocation(revocation))

    def publish_typing(self, conversation_id: str, username: str, *, is_active: bool, origin: int) -> None:
        """Says that somebody writes; not stored, and over the bus alone: without it there is none."""
        item = Item(int(is_active), username.encode(), 0, origin)
        self._bus.publish_nowait(
            conversation_channel(conversation_id), bus_messages.pack(FrameType.TYPING, conversation_id, [item])
        )

    def _publish(self, conversation_id: str, items: list[Item]) -> None:
        self._hub.deliver(conversation_id, items)
        channel = conversation_channel(conversation_id)
        for part in _parts(items):
            self._bus.publish_nowait(channel, bus_messages.pack(FrameType.ENTRIES, conversation_id, part))


def deliver_typing(hub: Hub, conversation_id: str, item: Item) -> None:
    """Hands a typing event to the sessions of the others; its seq is 1 for writing, 0 for stopped."""
    channel = hub.channels.get(conversation_id)
    if channel is None:
        return
    username = item.body.decode()
    body = responses.typing(conversation_id, username, is_active=bool(item.seq))
    for session in channel.live:
        if session.username != username:
            session.outbox.put_ephemeral((conversation_id, username), body)


def encode_revocation(revocation: Revocation) -> bytes:
    """A revocation as it goes over the bus."""
    return json.dumps(
        {
            "id": revocation.revocation_id,
            "username": revocation.username,
            "login_id": revocation.login_id,
            "revoke_time": revocation.revoke_time.isoformat(),
            "expire_time": revocation.expire_time.isoformat(),
        }
    ).encode()


def decode_revocation(payload: bytes) -> Revocation:
    """The opposite of `encode_revocation`.

    Raises:
        ValueError: the payload is no revocation.
    """
    try:
        value = json.loads(payload)
        return Revocation(
            revocation_id=int(value["id"]),
            username=str(value["username"]),
            login_id=None if value["login_id"] is None else str(value["login_id"]),
            revoke_time=datetime.fromisoformat(value["revoke_time"]),
            expire_time=datetime.fromisoformat(value["expire_time"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError("not a revocation") from error


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
