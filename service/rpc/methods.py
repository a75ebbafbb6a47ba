"""Every method of ChatService: what serves it, and whether it needs a token.

`tests/rpc/test_methods.py` holds that this table has exactly the methods of the contract.
"""

from dataclasses import dataclass

from parley.v1 import (
    account_pb2,
    chat_pb2,
    conversation_pb2,
    dead_letter_pb2,
    message_pb2,
    presence_pb2,
    server_info_pb2,
)

from service.rpc.accounts import AccountHandlers
from service.rpc.acks import AckHandlers
from service.rpc.chat.stream import ChatHandlers
from service.rpc.conversations import ConversationHandlers
from service.rpc.dead_letters import DeadLetterHandlers
from service.rpc.messages import MessageHandlers
from service.rpc.method_kinds import Stream, Unary
from service.rpc.presence import PresenceHandlers
from service.rpc.server_info import ServerInfoHandlers


@dataclass(frozen=True, slots=True)
class Handlers:
    """One object an area."""

    server_info: ServerInfoHandlers
    accounts: AccountHandlers
    conversations: ConversationHandlers
    messages: MessageHandlers
    chat: ChatHandlers
    acks: AckHandlers
    dead_letters: DeadLetterHandlers
    presence: PresenceHandlers


def to_methods(on: Handlers) -> dict[str, Unary | Stream]:
    """Pairs each method's name with what serves it."""
    return {
        "GetServerInfo": Unary(server_info_pb2.GetServerInfoRequest, on.server_info.get_server_info, needs_token=False),
        "Register": Unary(account_pb2.RegisterRequest, on.accounts.register, needs_token=False),
        "Login": Unary(account_pb2.LoginRequest, on.accounts.login, needs_token=False),
        "RefreshToken": Unary(account_pb2.RefreshTokenRequest, on.accounts.refresh_token, needs_token=False),
        "Logout": Unary(account_pb2.LogoutRequest, on.accounts.logout, needs_token=False),
        "GetUser": Unary(account_pb2.GetUserRequest, on.accounts.get_user),
        "UpdateUser": Unary(account_pb2.UpdateUserRequest, on.accounts.update_user),
        "ChangePassword": Unary(account_pb2.ChangePasswordRequest, on.accounts.change_password),
        "DeleteAccount": Unary(account_pb2.DeleteAccountRequest, on.accounts.delete_account),
        "CreateConversation": Unary(conversation_pb2.CreateConversationRequest, on.conversations.create_conversation),
        "GetConversation": Unary(conversation_pb2.GetConversationRequest, on.conversations.get_conversation),
        "ListConversations": Unary(conversation_pb2.ListConversationsRequest, on.conversations.list_conversations),
        "UpdateConversation": Unary(conversation_pb2.UpdateConversationRequest, on.conversations.update_conversation),
        "DeleteConversation": Unary(conversation_pb2.DeleteConversationRequest, on.conversations.delete_conversation),
        "AddMembers": Unary(conversation_pb2.AddMembersRequest, on.conversations.add_members),
        "RemoveMembers": Unary(conversation_pb2.RemoveMembersRequest, on.conversations.remove_members),
        "UpdateMember": Unary(conversation_pb2.UpdateMemberRequest, on.conversations.update_member),
        "ListMembers": Unary(conversation_pb2.ListMembersRequest, on.conversations.list_members),
        "MarkRead": Unary(conversation_pb2.MarkReadRequest, on.conversations.mark_read),
        "Send": Unary(message_pb2.SendRequest, on.messages.send),
        "BatchSend": Unary(message_pb2.BatchSendRequest, on.messages.batch_send),
        "Pull": Unary(message_pb2.PullRequest, on.messages.pull),
        "Chat": Stream(None, on.chat.chat),
        "Subscribe": Stream(chat_pb2.SubscribeRequest, on.chat.subscribe),
        "Ack": Unary(chat_pb2.AckRequest, on.acks.ack),
        "ListDeadLetters": Unary(dead_letter_pb2.ListDeadLettersRequest, on.dead_letters.list_dead_letters),
        "RedriveDeadLetters": Unary(dead_letter_pb2.RedriveDeadLettersRequest, on.dead_letters.redrive_dead_letters),
        "DeleteDeadLetters": Unary(dead_letter_pb2.DeleteDeadLettersRequest, on.dead_letters.delete_dead_letters),
        "GetPresence": Unary(presence_pb2.GetPresenceRequest, on.presence.get_presence),
    }
