"""GetPresence."""

from parley.v1 import presence_pb2

from service.domain import checks
from service.domain.call import Call
from service.domain.limits import MAX_PRESENCE_USERNAMES
from service.presence.tracker import PresenceTracker, to_presence


def to_presence_usernames(values: list[str]) -> list[str]:
    """Returns the names as they are kept, each once, in order."""
    checks.to_usernames(values, "usernames", max_count=MAX_PRESENCE_USERNAMES)
    return list(dict.fromkeys(checks.to_username(value, "usernames") for value in values))


class PresenceHandlers:
    """The calls about presence."""

    def __init__(self, presence: PresenceTracker) -> None:
        self._presence = presence

    async def get_presence(
        self, request: presence_pb2.GetPresenceRequest, call: Call
    ) -> presence_pb2.GetPresenceResponse:
        """Reads the presence of those whom the caller may see."""
        usernames = to_presence_usernames(list(request.usernames))
        records = await self._presence.read(call.caller.username, usernames)
        return presence_pb2.GetPresenceResponse(presences=[to_presence(name, record) for name, record in records])
