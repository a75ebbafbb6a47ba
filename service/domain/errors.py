"""What can be wrong with a request: one class a reason, without gRPC.

    ParleyError
      Internal
      InvalidRequest MessageTooLarge UnknownPayload OutOfOrder DeadlinePassed
      RateLimited Overloaded ShuttingDown
      DatabaseUnavailable RetryExhausted
      TokenMissing TokenInvalid TokenExpired BadCredentials UsernameTaken UserNotFound UserDisabled
      RegistrationClosed ScopeMissing
      ConversationNotFound RoleTooLow MemberNotFound LastOwner DirectConversation TooManyMembers
      RequestIdReused CursorBeyondEnd ReplyNotFound AckBeyondDelivered TooManyDevices
      AckModeMismatch DeliveryNotHeld

A message says what was wrong and what to do; what varies in it is in `metadata` too. `convert/status.py` pairs a class
with a status code and retry advice; `docs/errors.md` shows the same table to clients.
"""

from typing import ClassVar

from service.domain.limits import MAX_VIOLATIONS


class ParleyError(Exception):
    """A refusal that the caller is told.

    Attributes:
        reason: the name of the ErrorReason value without its prefix.
        message: for people, in one sentence or two.
        metadata: the message's variable parts, for programs.
        violations: for INVALID_REQUEST and its like, (field path, what is allowed) pairs.
        retry_after_seconds: when a repeat makes sense; None leaves it to the class's default in `status.py`.
    """

    reason: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        metadata: dict[str, str] | None = None,
        violations: tuple[tuple[str, str], ...] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = metadata or {}
        self.violations = violations
        self.retry_after_seconds = retry_after_seconds


class Internal(ParleyError):
    """Something unforeseen; its text is in the log only."""

    reason = "INTERNAL"

    def __init__(self, incident_id: str) -> None:
        super().__init__(
            f"Internal error; the operator finds it in the log as incident {incident_id}.",
            metadata={"incident": incident_id},
        )


class InvalidRequest(ParleyError):
    """Fields are out of their range; the message is about the first one.

    Args:
        field: the path of the first one.
        allowed: what that field may hold.
        others: further (field path, what is allowed) pairs; those above MAX_VIOLATIONS are left out.
    """

    reason = "INVALID_REQUEST"

    def __init__(self, field: str, allowed: str, *others: tuple[str, str]) -> None:
        violations = ((field, allowed), *others)[:MAX_VIOLATIONS]
        super().__init__(f"{field}: {allowed}.", metadata={"field": field}, violations=violations)


class MessageTooLarge(ParleyError):
    """The content is above a limit of GetServerInfo."""

    reason = "MESSAGE_TOO_LARGE"

    def __init__(self, field: str, size_bytes: int, max_bytes: int) -> None:
        allowed = f"takes {size_bytes} bytes, at most {max_bytes} are allowed"
        super().__init__(
            f"{field}: {allowed}.",
            metadata={"field": field, "size_bytes": str(size_bytes), "max_bytes": str(max_bytes)},
            violations=((field, allowed),),
        )


class UnknownPayload(ParleyError):
    """A frame has no arm that this server knows."""

    reason = "UNKNOWN_PAYLOAD"

    def __init__(self) -> None:
        super().__init__("The frame has no payload that this server knows; see GetServerInfo for its version.")


class OutOfOrder(ParleyError):
    """A frame came where the stream's state forbids it."""

    reason = "OUT_OF_ORDER"


class DeadlinePassed(ParleyError):
    """The request's deadline passed before its effect began."""

    reason = "DEADLINE_PASSED"

    def __init__(self) -> None:
        super().__init__("The deadline passed before the request took effect; nothing was stored.")


class RateLimited(ParleyError):
    """Too much of one caller."""

    reason = "RATE_LIMITED"

    def __init__(self, what: str, retry_after_seconds: float) -> None:
        super().__init__(
            f"Too many {what}; try again in {retry_after_seconds:.0f} s.",
            metadata={"what": what},
            retry_after_seconds=retry_after_seconds,
        )


class Overloaded(ParleyError):
    """A queue of the server is full; nothing was stored."""

    reason = "OVERLOADED"

    def __init__(self, what: str) -> None:
        super().__init__(f"The server has too much to do ({what}); nothing was stored, try again.")


class ShuttingDown(ParleyError):
    """The server is on its way out."""

    reason = "SHUTTING_DOWN"

    def __init__(self) -> None:
        super().__init__("The server is shutting down; connect again.")


class DatabaseUnavailable(ParleyError):
    """PostgreSQL can't be reached."""

    reason = "DATABASE_UNAVAILABLE"

    def __init__(self) -> None:
        super().__init__("The database can't be reached now; try again.")


class RetryExhausted(ParleyError):
    """Attempts to store ended and the outcome is not known."""

    reason = "RETRY_EXHAUSTED"

    def __init__(self) -> None:
        super().__init__("Storing did not succeed in time; send again with the same request_id.")


class TokenMissing(ParleyError):
    """No access token in the metadata."""

    reason = "TOKEN_MISSING"

    def __init__(self) -> None:
        super().__init__("This call needs `authorization: Bearer <access token>` in its metadata; get one by Login.")


class TokenInvalid(ParleyError):
    """A token that this server does not accept."""

    reason = "TOKEN_INVALID"


class TokenExpired(ParleyError):
    """A token past its time."""

    reason = "TOKEN_EXPIRED"

    def __init__(self) -> None:
        super().__init__("The token has expired; get a fresh one by RefreshToken or Login.")


class BadCredentials(ParleyError):
    """User name and password do not match."""

    reason = "BAD_CREDENTIALS"

    def __init__(self) -> None:
        super().__init__("User name and password do not match an account.")


class UsernameTaken(ParleyError):
    """The name is or was somebody's."""

    reason = "USERNAME_TAKEN"

    def __init__(self, username: str) -> None:
        super().__init__(f'The user name "{username}" is taken; choose another one.', metadata={"username": username})


class UserNotFound(ParleyError):
    """No account has this name."""

    reason = "USER_NOT_FOUND"

    def __init__(self, username: str) -> None:
        super().__init__(f'There is no user "{username}".', metadata={"username": username})


class UserDisabled(ParleyError):
    """An operator disabled the account."""

    reason = "USER_DISABLED"

    def __init__(self) -> None:
        super().__init__("The account is disabled; ask the operator of this server.")


class RegistrationClosed(ParleyError):
    """The operator alone makes accounts here."""

    reason = "REGISTRATION_CLOSED"

    def __init__(self) -> None:
        super().__init__("This server makes no accounts on request; ask its operator for one.")


class ScopeMissing(ParleyError):
    """The token does not allow this call."""

    reason = "SCOPE_MISSING"

    def __init__(self, scope: str) -> None:
        super().__init__(
            f'This needs a token with the scope "{scope}"; the operator mints one with `parley token --scope {scope}`.',
            metadata={"scope": scope},
        )


class ConversationNotFound(ParleyError):
    """Absent, or not for the caller."""

    reason = "CONVERSATION_NOT_FOUND"

    def __init__(self, conversation_id: str) -> None:
        shown = conversation_id[:80]
        super().__init__(f'There is no conversation "{shown}" that you are in.', metadata={"conversation_id": shown})


class RoleTooLow(ParleyError):
    """The caller's role does not allow it."""

    reason = "ROLE_TOO_LOW"

    def __init__(self, action: str, role: str) -> None:
        super().__init__(f"As {role} you may not {action}.", metadata={"action": action, "role": role})


class MemberNotFound(ParleyError):
    """The user named is not in the conversation."""

    reason = "MEMBER_NOT_FOUND"

    def __init__(self, username: str) -> None:
        super().__init__(f'"{username}" is not a member of the conversation.', metadata={"username": username})


class LastOwner(ParleyError):
    """The group would be left without an owner."""

    reason = "LAST_OWNER"

    def __init__(self) -> None:
        super().__init__("The last owner can't go while others are members; make another member OWNER first.")


class DirectConversation(ParleyError):
    """Direct conversations can't be changed so."""

    reason = "DIRECT_CONVERSATION"

    def __init__(self, action: str) -> None:
        super().__init__(f"You can't {action} a direct conversation.", metadata={"action": action})


class TooManyMembers(ParleyError):
    """The conversation is full."""

    reason = "TOO_MANY_MEMBERS"

    def __init__(self, max_members: int) -> None:
        super().__init__(
            f"A conversation has at most {max_members} members.", metadata={"max_members": str(max_members)}
        )


class RequestIdReused(ParleyError):
    """The same request_id with another content."""

    reason = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f'The request_id "{request_id}" was used here for a different content; a new message needs a new one.',
            metadata={"request_id": request_id},
        )


class CursorBeyondEnd(ParleyError):
    """A seq above what there is."""

    reason = "CURSOR_BEYOND_END"

    def __init__(self, conversation_id: str, last_seq: int) -> None:
        super().__init__(
            f"The position is above the end of the conversation; its last seq is {last_seq}.",
            metadata={"conversation_id": conversation_id, "last_seq": str(last_seq)},
        )


class ReplyNotFound(ParleyError):
    """`reply_to_seq` names nothing that the caller can see."""

    reason = "REPLY_NOT_FOUND"

    def __init__(self, reply_to_seq: int) -> None:
        super().__init__(
            f"reply_to_seq {reply_to_seq} names no message that you can see.",
            metadata={"reply_to_seq": str(reply_to_seq)},
        )


class AckBeyondDelivered(ParleyError):
    """An ack for what was not delivered."""

    reason = "ACK_BEYOND_DELIVERED"

    def __init__(self, conversation_id: str, delivered_seq: int) -> None:
        super().__init__(
            f"The ack is above what was delivered to this device, which is {delivered_seq}.",
            metadata={"conversation_id": conversation_id, "delivered_seq": str(delivered_seq)},
        )


class TooManyDevices(ParleyError):
    """The user has as many devices as one may have."""

    reason = "TOO_MANY_DEVICES"

    def __init__(self, max_devices: int) -> None:
        super().__init__(
            f"A user has at most {max_devices} devices; those unused for 90 days end by themselves.",
            metadata={"max_devices": str(max_devices)},
        )


class AckModeMismatch(ParleyError):
    """The device acknowledges in another way."""

    reason = "ACK_MODE_MISMATCH"

    def __init__(self, device_id: str) -> None:
        super().__init__(
            f'The device "{device_id}" acknowledges in another way (ack_mode, ordered, no_echo); end its streams and '
            "settle its messages first, or use another device_id.",
            metadata={"device_id": device_id},
        )


class DeliveryNotHeld(ParleyError):
    """An ack or nack comes too late."""

    reason = "DELIVERY_NOT_HELD"

    def __init__(self, conversation_id: str, seq: int, *, is_dead: bool) -> None:
        super().__init__(
            f"The message {seq} became a dead letter; redrive it to have it again."
            if is_dead
            else f"This stream does not hold the message {seq} any more; what becomes of it is decided elsewhere.",
            metadata={"conversation_id": conversation_id, "seq": str(seq), "is_dead": str(is_dead).lower()},
        )
