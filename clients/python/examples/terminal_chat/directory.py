"""The calls about conversations, each giving what the screen needs."""

import uuid
from typing import Any

import grpc
from grpc import aio
from parley.v1 import account_pb2, conversation_pb2, message_pb2, presence_pb2

from terminal_chat.calls import call_patiently
from terminal_chat.login import Login
from terminal_chat.text import to_safe_line

_LONGEST_LIST = 200
_LONGEST_MEMBER_LIST = 500
ROLES = {
    "owner": message_pb2.MEMBER_ROLE_OWNER,
    "admin": message_pb2.MEMBER_ROLE_ADMIN,
    "member": message_pb2.MEMBER_ROLE_MEMBER,
    "reader": message_pb2.MEMBER_ROLE_READER,
}


class Directory:
    """Conversations as the user sees them. Every method raises grpc.aio.AioRpcError when the server refuses."""

    def __init__(self, stub: Any, login: Login) -> None:
        self._stub = stub
        self._login = login

    async def list_newest(self) -> list[conversation_pb2.Conversation]:
        """Returns those with the newest activity, up to 200."""
        request = conversation_pb2.ListConversationsRequest(page_size=_LONGEST_LIST)
        return list((await self._call(self._stub.ListConversations, request)).conversations)

    def title_of(self, conversation: conversation_pb2.Conversation) -> str:
        """Returns what to call a conversation; safe. A direct one is called after the other user."""
        conversation_id: str = conversation.conversation_id
        if ":" in conversation_id:
            others = [name for name in conversation_id.split(":") if name != self._login.username]
            return others[0] if others else "notes to self"
        return to_safe_line(conversation.title) or conversation_id

    async def find(self, name: str) -> conversation_pb2.Conversation:
        """Returns the conversation that an id, a title or a user's name stands for; a direct one may not exist yet."""
        if ":" in name:
            return conversation_pb2.Conversation(conversation_id=":".join(sorted(name.lower().split(":"))))
        for conversation in await self.list_newest():
            if name == conversation.conversation_id or name.casefold() == conversation.title.casefold():
                return conversation
        request = account_pb2.GetUserRequest(username=name.removeprefix("@"))
        user = (await self._call(self._stub.GetUser, request)).user
        return conversation_pb2.Conversation(conversation_id=":".join(sorted((user.username, self._login.username))))

    async def get(self, conversation_id: str) -> conversation_pb2.Conversation:
        """Returns a conversation."""
        request = conversation_pb2.GetConversationRequest(conversation_id=conversation_id)
        conversation: conversation_pb2.Conversation = (
            await self._call(self._stub.GetConversation, request)
        ).conversation
        return conversation

    async def list_members(self, conversation_id: str) -> list[conversation_pb2.Member]:
        """Returns the members, up to 500; the two users of a direct one that nobody wrote in yet."""
        request = conversation_pb2.ListMembersRequest(conversation_id=conversation_id, page_size=_LONGEST_MEMBER_LIST)
        try:
            return list((await self._call(self._stub.ListMembers, request)).members)
        except aio.AioRpcError as error:
            if not _is_unwritten(error, conversation_id):
                raise
            return [conversation_pb2.Member(username=name) for name in sorted(set(conversation_id.split(":")))]

    async def list_history(self, conversation_id: str, below_seq: int, count: int) -> list[message_pb2.Message]:
        """Returns the last entries below a seq (0: the last ones there are), oldest first."""
        if below_seq == 1:
            return []
        request = message_pb2.PullRequest(
            conversation_id=conversation_id, cursor=max(0, below_seq - 1), limit=count, reverse=True
        )
        try:
            return list((await self._call(self._stub.Pull, request)).messages)[::-1]
        except aio.AioRpcError as error:
            if not _is_unwritten(error, conversation_id):
                raise
            return []

    async def list_presences(self, usernames: list[str]) -> list[presence_pb2.Presence]:
        """Returns who of them is online, of those whose presence may be known."""
        request = presence_pb2.GetPresenceRequest(usernames=usernames[:_LONGEST_MEMBER_LIST])
        return list((await self._call(self._stub.GetPresence, request)).presences)

    async def make(self, title: str, usernames: list[str]) -> conversation_pb2.Conversation:
        """Makes a group and returns it."""
        request = conversation_pb2.CreateConversationRequest(
            title=title, members=usernames, request_id=uuid.uuid4().hex
        )
        made: conversation_pb2.Conversation = (await self._call(self._stub.CreateConversation, request)).conversation
        return made

    async def add(self, conversation_id: str, usernames: list[str]) -> None:
        """Adds users to a group."""
        request = conversation_pb2.AddMembersRequest(
            conversation_id=conversation_id, members=usernames, request_id=uuid.uuid4().hex
        )
        await self._call(self._stub.AddMembers, request)

    async def set_role(self, conversation_id: str, username: str, role: message_pb2.MemberRole) -> None:
        """Changes the role of a member; an owner can make another member owner, and may leave then."""
        request = conversation_pb2.UpdateMemberRequest(
            conversation_id=conversation_id,
            username=username.removeprefix("@").lower(),
            role=role,
            request_id=uuid.uuid4().hex,
        )
        await self._call(self._stub.UpdateMember, request)

    async def leave(self, conversation_id: str) -> None:
        """Takes the user out of a group."""
        request = conversation_pb2.RemoveMembersRequest(
            conversation_id=conversation_id, members=[self._login.username], request_id=uuid.uuid4().hex
        )
        await self._call(self._stub.RemoveMembers, request)

    async def _call(self, method: Any, request: Any) -> Any:
        return await call_patiently(method, request, self._login)


def _is_unwritten(error: aio.AioRpcError, conversation_id: str) -> bool:
    """Whether this may be a direct conversation that its first message will make."""
    return error.code() is grpc.StatusCode.NOT_FOUND and ":" in conversation_id
