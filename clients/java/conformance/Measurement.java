package conformance;

import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import parley.v1.ChatRequest;
import parley.v1.ChatResponse;
import parley.v1.ChatServiceGrpc.ChatServiceStub;
import parley.v1.Hello;
import parley.v1.SendFrame;
import parley.v1.SendRequest;
import parley.v1.SendResult;
import parley.v1.Start;

/** How long one stream takes to have messages stored, with so many unanswered at most. */
final class Measurement {
  private static final String TEXT = "x".repeat(100);

  private Measurement() {}

  static JsonObject run(ChatServiceStub stub, JsonObject command) throws InterruptedException {
    String conversationId = command.get("conversation_id").getAsString();
    int outstanding = command.get("outstanding").getAsInt();
    int count = command.get("count").getAsInt();
    OpenStream stream = OpenStream.openChat(stub);
    greet(stream);

    int written = 0;
    int answered = 0;
    int accepted = 0;
    long startNanos = System.nanoTime();
    while (answered < count) {
      while (written < count && written - answered < outstanding) {
        stream.write(note(++written, conversationId));
      }
      ChatResponse frame = stream.next();
      answered += frame.getResultsCount() + frame.getErrorsCount();
      accepted += (int) frame.getResultsList().stream().filter(SendResult::hasAccepted).count();
    }
    double seconds = (System.nanoTime() - startNanos) / 1e9;

    stream.cancel();
    JsonObject answer = Json.object("seconds", new JsonPrimitive(seconds));
    answer.addProperty("accepted", accepted);
    return answer;
  }

  private static void greet(OpenStream stream) throws InterruptedException {
    var hello = Hello.newBuilder().setNoEcho(true).setStart(Start.START_LATEST);
    stream.write(ChatRequest.newBuilder().setHello(hello).build());
    ChatResponse answer = stream.next();
    if (answer.getWelcomesCount() == 0) {
      throw new IllegalStateException("hello was not answered by a welcome: " + answer);
    }
  }

  private static ChatRequest note(long correlationId, String conversationId) {
    var note = SendRequest.newBuilder().setConversationId(conversationId).setText(TEXT);
    var send = SendFrame.newBuilder().addRequests(note);
    return ChatRequest.newBuilder().setCorrelationId(correlationId).setSend(send).build();
  }
}
