"""Conversations and members to protobuf; what requests may hold beyond `domain/checks.py`."""

from collections.abc import Sequence

from parley.v1 import conversation_pb2, message_pb2

from service.convert.messages import to_message
from service.convert.timestamps import to_timestamp
from service.domain import checks, limits
from service.domain.errors import InvalidRequest
from storage.records import Conversation, Member, Role


def to_conversation(conversation: Conversation) -> conversation_pb2.Conversation:
    """Returns the conversation as its member sees it."""
    last_entry = conversation.last_entry
    return conversation_pb2.Conversation(
        conversation_id=conversation.conversation_id,
        kind=conversation_pb2.ConversationKind.Name(conversation.kind),
        title=conversation.title,
        create_time=to_timestamp(conversation.create_time),
        last_activity_time=to_timestamp(conversation.last_time),
        first_seq=conversation.first_seq,
        last_seq=conversation.last_seq,
        member_count=conversation.member_count,
        history_visible=conversation.history_visible,
        role=message_pb2.MemberRole.Name(conversation.role),
        read_seq=conversation.read_seq,
        unread_count=conversation.unread_count,
        last_message=None if last_entry is None else to_message(last_entry),
    )


def to_member(member: Member) -> conversation_pb2.Member:
    """Returns the member with the profile that others see."""
    return conversation_pb2.Member(
        username=member.username,
        display_name=member.display_name,
        role=message_pb2.MemberRole.Name(member.role),
        join_time=to_timestamp(member.join_time),
        read_seq=member.read_seq,
    )


def from_role(value: int, field: str, *, default: Role | None = None) -> Role:
    """Returns the role of a request; a default stands for "unspecified".

    Raises:
        InvalidRequest: it is none, or unspecified where there is no default.
    """
    if value == message_pb2.MEMBER_ROLE_UNSPECIFIED and default is not None:
        return default
    if value not in (Role.READER, Role.MEMBER, Role.ADMIN, Role.OWNER):
        raise InvalidRequest(field, "must be READER, MEMBER, ADMIN or OWNER")
    return Role(value)


def from_title(value: str) -> str:
    """Returns a title that fits."""
    return checks.to_line(value, "title", max_bytes=limits.MAX_TITLE_BYTES)


def from_members(values: Sequence[str], *, min_count: int = 1) -> list[str]:
    """Returns the user names of a membership request, each once, sorted."""
    return checks.to_usernames(list(values), "members", min_count=min_count, max_count=limits.MAX_MEMBERS_PER_REQUEST)


def from_page_size(value: int) -> int:
    """Returns how many conversations a page has."""
    return checks.to_page_size(
        value, "page_size", default=limits.DEFAULT_CONVERSATIONS_PAGE, maximum=limits.MAX_CONVERSATIONS_PAGE
    )


def from_members_page_size(value: int) -> int:
    """Returns how many members a page has."""
    return checks.to_page_size(value, "page_size", default=limits.DEFAULT_MEMBERS_PAGE, maximum=limits.MAX_MEMBERS_PAGE)
