package conformance

import com.google.protobuf.Message
import io.grpc.Metadata
import parley.v1.AckRequest
import parley.v1.AddMembersRequest
import parley.v1.BatchSendRequest
import parley.v1.ChangePasswordRequest
import parley.v1.ChatServiceGrpcKt.ChatServiceCoroutineStub as Stub
import parley.v1.CreateConversationRequest
import parley.v1.DeleteAccountRequest
import parley.v1.DeleteConversationRequest
import parley.v1.DeleteDeadLettersRequest
import parley.v1.GetConversationRequest
import parley.v1.GetPresenceRequest
import parley.v1.GetServerInfoRequest
import parley.v1.GetUserRequest
import parley.v1.ListConversationsRequest
import parley.v1.ListDeadLettersRequest
import parley.v1.ListMembersRequest
import parley.v1.LoginRequest
import parley.v1.LogoutRequest
import parley.v1.MarkReadRequest
import parley.v1.PullRequest
import parley.v1.RedriveDeadLettersRequest
import parley.v1.RefreshTokenRequest
import parley.v1.RegisterRequest
import parley.v1.RemoveMembersRequest
import parley.v1.SendRequest
import parley.v1.UpdateConversationRequest
import parley.v1.UpdateMemberRequest
import parley.v1.UpdateUserRequest

/** A unary method of the stub, with the request that it takes, empty. */
class UnaryMethod<Q : Message>(
    private val empty: Q,
    private val method: suspend (Stub, Q, Metadata) -> Message,
) {
    /** Each method has a request of its own, named after it. */
    val name = empty.descriptorForType.name.removeSuffix("Request")

    @Suppress("UNCHECKED_CAST") // a builder that an empty request gave builds one of the same type
    suspend fun call(
        stub: Stub,
        fill: (Message.Builder) -> Message.Builder,
        headers: Metadata,
    ): Message = method(stub, fill(empty.newBuilderForType()).build() as Q, headers)
}

val unaryMethods: Map<String, UnaryMethod<*>> =
    listOf(
            UnaryMethod(AckRequest.getDefaultInstance(), Stub::ack),
            UnaryMethod(AddMembersRequest.getDefaultInstance(), Stub::addMembers),
            UnaryMethod(BatchSendRequest.getDefaultInstance(), Stub::batchSend),
            UnaryMethod(ChangePasswordRequest.getDefaultInstance(), Stub::changePassword),
            UnaryMethod(CreateConversationRequest.getDefaultInstance(), Stub::createConversation),
            UnaryMethod(DeleteAccountRequest.getDefaultInstance(), Stub::deleteAccount),
            UnaryMethod(DeleteConversationRequest.getDefaultInstance(), Stub::deleteConversation),
            UnaryMethod(DeleteDeadLettersRequest.getDefaultInstance(), Stub::deleteDeadLetters),
            UnaryMethod(GetConversationRequest.getDefaultInstance(), Stub::getConversation),
            UnaryMethod(GetPresenceRequest.getDefaultInstance(), Stub::getPresence),
            UnaryMethod(GetServerInfoRequest.getDefaultInstance(), Stub::getServerInfo),
            UnaryMethod(GetUserRequest.getDefaultInstance(), Stub::getUser),
            UnaryMethod(ListConversationsRequest.getDefaultInstance(), Stub::listConversations),
            UnaryMethod(ListDeadLettersRequest.getDefaultInstance(), Stub::listDeadLetters),
            UnaryMethod(ListMembersRequest.getDefaultInstance(), Stub::listMembers),
            UnaryMethod(LoginRequest.getDefaultInstance(), Stub::login),
            UnaryMethod(LogoutRequest.getDefaultInstance(), Stub::logout),
            UnaryMethod(MarkReadRequest.getDefaultInstance(), Stub::markRead),
            UnaryMethod(PullRequest.getDefaultInstance(), Stub::pull),
            UnaryMethod(RedriveDeadLettersRequest.getDefaultInstance(), Stub::redriveDeadLetters),
            UnaryMethod(RefreshTokenRequest.getDefaultInstance(), Stub::refreshToken),
            UnaryMethod(RegisterRequest.getDefaultInstance(), Stub::register),
            UnaryMethod(RemoveMembersRequest.getDefaultInstance(), Stub::removeMembers),
            UnaryMethod(SendRequest.getDefaultInstance(), Stub::send),
            UnaryMethod(UpdateConversationRequest.getDefaultInstance(), Stub::updateConversation),
            UnaryMethod(UpdateMemberRequest.getDefaultInstance(), Stub::updateMember),
            UnaryMethod(UpdateUserRequest.getDefaultInstance(), Stub::updateUser),
        )
        .associateBy { it.name }
