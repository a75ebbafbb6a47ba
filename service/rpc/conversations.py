"""The RPCs about conversations and members: convert, call one verb, convert back."""

from parley.v1 import conversation_pb2, message_pb2

from service.conversations.service import ConversationService
from service.convert import conversations as convert
from service.convert.messages import to_message
from service.domain import checks, page_tokens
from service.domain.call import Call
from service.domain.field_checks import FieldChecks
from storage.records import Entry, Role


class ConversationHandlers:
    """One method for each RPC; the contract (conversation.proto) says what each one does and how it fails."""

    def __init__(self, conversations: ConversationService) -> None:
        self._conversations = conversations

    async def create_conversation(
        self, request: conversation_pb2.CreateConversationRequest, call: Call
    ) -> conversation_pb2.CreateConversationResponse:
        """Makes a group."""
        with FieldChecks() as check:
            title = check(convert.from_title, request.title)
            members = check(convert.from_members, request.members, min_count=0)
            request_id = check(checks.to_request_id, request.request_id)
        created = await self._conversations.create(
            call.caller.username,
            title=title,
            members=members,
            history_visible=request.history_visible if request.HasField("history_visible") else True,
            request_id=request_id,
        )
        return conversation_pb2.CreateConversationResponse(
            conversation=convert.to_conversation(created.conversation), deduplicated=created.is_deduplicated
        )

    async def get_conversation(
        self, request: conversation_pb2.GetConversationRequest, call: Call
    ) -> conversation_pb2.GetConversationResponse:
        """Reads one conversation."""
        conversation = await self._conversations.get(
            call.caller.username, checks.to_conversation_id(request.conversation_id)
        )
        return conversation_pb2.GetConversationResponse(conversation=convert.to_conversation(conversation))

    async def list_conversations(
        self, request: conversation_pb2.ListConversationsRequest, call: Call
    ) -> conversation_pb2.ListConversationsResponse:
        """Lists the caller's conversations."""
        with FieldChecks() as check:
            page_size = check(convert.from_page_size, request.page_size)
            after = check(page_tokens.from_conversations_token, request.page_token)
        found, next_page_token = await self._conversations.list_page(
            call.caller.username, page_size=page_size, after=after
        )
        return conversation_pb2.ListConversationsResponse(
            conversations=map(convert.to_conversation, found), next_page_token=next_page_token
        )

    async def update_conversation(
        self, request: conversation_pb2.UpdateConversationRequest, call: Call
    ) -> conversation_pb2.UpdateConversationResponse:
        """Changes a group."""
        with FieldChecks() as check:
            conversation_id = check(checks.to_conversation_id, request.conversation_id)
            title = check(convert.from_title, request.title) if request.HasField("title") else None
        conversation = await self._conversations.update(
            call.caller.username,
            conversation_id,
            title=title,
            history_visible=request.history_visible if request.HasField("history_visible") else None,
        )
        return conversation_pb2.UpdateConversationResponse(conversation=convert.to_conversation(conversation))

    async def delete_conversation(
        self, request: conversation_pb2.DeleteConversationRequest, call: Call
    ) -> conversation_pb2.DeleteConversationResponse:
        """Deletes a group for all, or hides a direct conversation for the caller."""
        await self._conversations.delete(call.caller.username, checks.to_conversation_id(request.conversation_id))
        return conversation_pb2.DeleteConversationResponse()

    async def add_members(
        self, request: conversation_pb2.AddMembersRequest, call: Call
    ) -> conversation_pb2.AddMembersResponse:
        """Adds users to a group."""
        with FieldChecks() as check:
            conversation_id = check(checks.to_conversation_id, request.conversation_id)
            members = check(convert.from_members, request.members)
            role = check(convert.from_role, request.role, "role", default=Role.MEMBER)
            request_id = check(checks.to_request_id, request.request_id)
        changed = await self._conversations.add_members(
            call.caller.username, conversation_id, members, role=role, request_id=request_id
        )
        return conversation_pb2.AddMembersResponse(
            message=_to_message(changed.entry), deduplicated=changed.is_deduplicated
        )

    async def remove_members(
        self, request: conversation_pb2.RemoveMembersRequest, call: Call
    ) -> conversation_pb2.RemoveMembersResponse:
        """Takes users out of a group, or the caller."""
        with FieldChecks() as check:
            conversation_id = check(checks.to_conversation_id, request.conversation_id)
            members = check(convert.from_members, request.members)
            request_id = check(checks.to_request_id, request.request_id)
        changed = await self._conversations.remove_members(
            call.caller.username, conversation_id, members, request_id=request_id
        )
        return conversation_pb2.RemoveMembersResponse(
            message=_to_message(changed.entry), deduplicated=changed.is_deduplicated
        )

    async def update_member(
        self, request: conversation_pb2.UpdateMemberRequest, call: Call
    ) -> conversation_pb2.UpdateMemberResponse:
        """Changes a member's role."""
        with FieldChecks() as check:
            conversation_id = check(checks.to_conversation_id, request.conversation_id)
            username = check(checks.to_username, request.username)
            role = check(convert.from_role, request.role, "role")
            request_id = check(checks.to_request_id, request.request_id)
        member, changed = await self._conversations.update_member(
            call.caller.username, conversation_id, username, role=role, request_id=request_id
        )
        return conversation_pb2.UpdateMemberResponse(
            member=None if member is None else convert.to_member(member),
            message=_to_message(changed.entry),
            deduplicated=changed.is_deduplicated,
        )

    async def list_members(
        self, request: conversation_pb2.ListMembersRequest, call: Call
    ) -> conversation_pb2.ListMembersResponse:
        """Lists the members of a conversation."""
        with FieldChecks() as check:
            conversation_id = check(checks.to_conversation_id, request.conversation_id)
            page_size = check(convert.from_members_page_size, request.page_size)
            after = check(page_tokens.from_members_token, request.page_token)
        found, next_page_token = await self._conversations.list_members(
            call.caller.username, conversation_id, page_size=page_size, after=after
        )
        return conversation_pb2.ListMembersResponse(
            members=map(convert.to_member, found), next_page_token=next_page_token
        )

    async def mark_read(
        self, request: conversation_pb2.MarkReadRequest, call: Call
    ) -> conversation_pb2.MarkReadResponse:
        """Says up to where the caller has read."""
        with FieldChecks() as check:
            conversation_id = check(checks.to_conversation_id, request.conversation_id)
            seq = check(checks.to_natural, request.seq, "seq")
        position = await self._conversations.mark_read(call.caller.username, conversation_id, seq)
        return conversation_pb2.MarkReadResponse(read_seq=position.read_seq, unread_count=position.unread_count)


def _to_message(entry: Entry | None) -> message_pb2.Message | None:
    """Returns the entry; None, which leaves the field unset, without one."""
    return None if entry is None else to_message(entry)
