package conformance;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.protobuf.Message;
import io.grpc.Context;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.BiFunction;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import parley.v1.AckRequest;
import parley.v1.AddMembersRequest;
import parley.v1.BatchSendRequest;
import parley.v1.ChangePasswordRequest;
import parley.v1.ChatServiceGrpc.ChatServiceBlockingStub;
import parley.v1.CreateConversationRequest;
import parley.v1.DeleteAccountRequest;
import parley.v1.DeleteConversationRequest;
import parley.v1.DeleteDeadLettersRequest;
import parley.v1.GetConversationRequest;
import parley.v1.GetPresenceRequest;
import parley.v1.GetServerInfoRequest;
import parley.v1.GetUserRequest;
import parley.v1.ListConversationsRequest;
import parley.v1.ListDeadLettersRequest;
import parley.v1.ListMembersRequest;
import parley.v1.LoginRequest;
import parley.v1.LogoutRequest;
import parley.v1.MarkReadRequest;
import parley.v1.PullRequest;
import parley.v1.RedriveDeadLettersRequest;
import parley.v1.RefreshTokenRequest;
import parley.v1.RegisterRequest;
import parley.v1.RemoveMembersRequest;
import parley.v1.SendRequest;
import parley.v1.UpdateConversationRequest;
import parley.v1.UpdateMemberRequest;
import parley.v1.UpdateUserRequest;

/** A unary method of the stub, to be called with a request in JSON. */
record UnaryMethod<Q extends Message>(
    Q prototype, BiFunction<ChatServiceBlockingStub, Q, ? extends Message> method) {
  private static final long LONGEST_MILLIS = 30_000;
  private static final ScheduledExecutorService CANCELLATIONS =
      Executors.newSingleThreadScheduledExecutor();

  private static final Map<String, UnaryMethod<?>> ALL =
      Stream.of(
              of(AckRequest.getDefaultInstance(), ChatServiceBlockingStub::ack),
              of(AddMembersRequest.getDefaultInstance(), ChatServiceBlockingStub::addMembers),
              of(BatchSendRequest.getDefaultInstance(), ChatServiceBlockingStub::batchSend),
              of(
                  ChangePasswordRequest.getDefaultInstance(),
                  ChatServiceBlockingStub::changePassword),
              of(
                  CreateConversationRequest.getDefaultInstance(),
                  ChatServiceBlockingStub::createConversation),
              of(DeleteAccountRequest.getDefaultInstance(), ChatServiceBlockingStub::deleteAccount),
              of(
                  DeleteConversationRequest.getDefaultInstance(),
                  ChatServiceBlockingStub::deleteConversation),
              of(
                  DeleteDeadLettersRequest.getDefaultInstance(),
                  ChatServiceBlockingStub::deleteDeadLetters),
              of(
                  GetConversationRequest.getDefaultInstance(),
                  ChatServiceBlockingStub::getConversation),
              of(GetPresenceRequest.getDefaultInstance(), ChatServiceBlockingStub::getPresence),
              of(GetServerInfoRequest.getDefaultInstance(), ChatServiceBlockingStub::getServerInfo),
              of(GetUserRequest.getDefaultInstance(), ChatServiceBlockingStub::getUser),
              of(
                  ListConversationsRequest.getDefaultInstance(),
                  ChatServiceBlockingStub::listConversations),
              of(
                  ListDeadLettersRequest.getDefaultInstance(),
                  ChatServiceBlockingStub::listDeadLetters),
              of(ListMembersRequest.getDefaultInstance(), ChatServiceBlockingStub::listMembers),
              of(LoginRequest.getDefaultInstance(), ChatServiceBlockingStub::login),
              of(LogoutRequest.getDefaultInstance(), ChatServiceBlockingStub::logout),
              of(MarkReadRequest.getDefaultInstance(), ChatServiceBlockingStub::markRead),
              of(PullRequest.getDefaultInstance(), ChatServiceBlockingStub::pull),
              of(
                  RedriveDeadLettersRequest.getDefaultInstance(),
                  ChatServiceBlockingStub::redriveDeadLetters),
              of(RefreshTokenRequest.getDefaultInstance(), ChatServiceBlockingStub::refreshToken),
              of(RegisterRequest.getDefaultInstance(), ChatServiceBlockingStub::register),
              of(RemoveMembersRequest.getDefaultInstance(), ChatServiceBlockingStub::removeMembers),
              of(SendRequest.getDefaultInstance(), ChatServiceBlockingStub::send),
              of(
                  UpdateConversationRequest.getDefaultInstance(),
                  ChatServiceBlockingStub::updateConversation),
              of(UpdateMemberRequest.getDefaultInstance(), ChatServiceBlockingStub::updateMember),
              of(UpdateUserRequest.getDefaultInstance(), ChatServiceBlockingStub::updateUser))
          .collect(Collectors.toMap(UnaryMethod::name, Function.identity()));

  private static <Q extends Message> UnaryMethod<Q> of(
      Q prototype, BiFunction<ChatServiceBlockingStub, Q, ? extends Message> method) {
    return new UnaryMethod<>(prototype, method);
  }

  static UnaryMethod<?> of(String name) {
    return ALL.get(name);
  }

  /** Each method has a request of its own, named after it. */
  private String name() {
    return prototype.getDescriptorForType().getName().replaceFirst("Request$", "");
  }

  JsonObject call(Channels channels, JsonObject command, JsonElement requestJson) throws Exception {
    @SuppressWarnings("unchecked") // a builder of the prototype builds the prototype's type
    Q request = (Q) Json.merge(requestJson, prototype.newBuilderForType()).build();
    long deadline =
        command.has("deadline_ms") ? command.get("deadline_ms").getAsLong() : LONGEST_MILLIS;
    ChatServiceBlockingStub stub = channels.blockingStub(command);
    try (var context = Context.current().withCancellation()) {
      if (command.has("cancel_after_ms")) {
        long delay = command.get("cancel_after_ms").getAsLong();
        CANCELLATIONS.schedule(() -> context.cancel(null), delay, TimeUnit.MILLISECONDS);
      }
      var timed = stub.withDeadlineAfter(deadline, TimeUnit.MILLISECONDS);
      return Json.fromMessage(context.call(() -> method.apply(timed, request)));
    }
  }
}
