package examples;

import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import parley.v1.ChatServiceGrpc;
import parley.v1.RegisterRequest;

/**
 * Sends three notes to itself through a session, and acknowledges them. Arguments: [host:port].
 */
public final class ChatExample {
  private static final String ME = "hello-java";
  private static final String PASSWORD = "correct horse battery staple";
  private static final Duration LIMIT = Duration.ofSeconds(10);

  private ChatExample() {}

  public static void main(String[] args) throws Exception {
    String target = args.length > 0 ? args[0] : "127.0.0.1:50051";
    register(target);
    var credentials = InsecureChannelCredentials.create();
    Session session = Session.open(target, credentials, ME, PASSWORD, "example", LIMIT);
    long lastSeq = 0;
    for (String text : List.of("Hello, Parley!", "Is anybody there?", "Good night.")) {
      lastSeq = session.send(ME + ":" + ME, text).get().getSeq();
      System.out.printf("stored as %d%n", lastSeq);
    }
    long seq = 0;
    while (seq < lastSeq) {
      Session.Entry entry = session.next(LIMIT);
      if (entry == null) {
        throw new IllegalStateException("nothing came");
      }
      if (entry.message() != null) {
        seq = entry.message().getSeq();
        System.out.printf("received %d: %s%n", seq, entry.message().getText());
        session.ack(entry.message().getConversationId(), seq);
      }
    }
    session.close(LIMIT);
    System.out.println("done");
  }

  private static void register(String target) {
    var channel =
        Grpc.newChannelBuilder(target, InsecureChannelCredentials.create())
            .proxyDetector(address -> null)
            .build();
    try {
      var account = RegisterRequest.newBuilder().setUsername(ME).setPassword(PASSWORD).build();
      ChatServiceGrpc.newBlockingStub(channel)
          .withDeadlineAfter(10, TimeUnit.SECONDS)
          .register(account);
    } catch (StatusRuntimeException refused) {
      if (refused.getStatus().getCode() != Status.Code.ALREADY_EXISTS) {
        throw refused;
      }
    } finally {
      channel.shutdownNow();
    }
  }
}
