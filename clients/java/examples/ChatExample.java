package examples;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.Durations;
import com.google.rpc.RetryInfo;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import io.grpc.stub.MetadataUtils;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import parley.v1.AckFrame;
import parley.v1.ChatRequest;
import parley.v1.ChatResponse;
import parley.v1.ChatServiceGrpc;
import parley.v1.Hello;
import parley.v1.LoginRequest;
import parley.v1.Message;
import parley.v1.Position;
import parley.v1.RegisterRequest;
import parley.v1.SendFrame;
import parley.v1.SendRequest;
import parley.v1.SendResult;
import parley.v1.Start;

/**
 * Sends notes to itself over Chat, loses the stream before they are answered, resumes, sends again
 * what has no answer, and acknowledges what came. Arguments: [host:port].
 */
public final class ChatExample {
  private static final String ME = "hello-java";
  private static final String PASSWORD = "correct horse battery staple";
  private static final int HEARTBEAT_SECONDS = 10;
  private static final long FIRST_PAUSE_MILLIS = 500;
  private static final long LAST_PAUSE_MILLIS = 15_000;

  private final ManagedChannel channel;

  /** What has no final answer, by request_id. Each stream sends it again; it is stored once. */
  private final Map<String, SendRequest> outbox = new LinkedHashMap<>();

  /** The highest seq that came, by conversation. What is not above it came before. */
  private final Map<String, Long> positions = new HashMap<>();

  private long epoch;
  private long lastStoredSeq;
  private long pauseMillis = FIRST_PAUSE_MILLIS;
  private boolean wasBroken;

  private ChatExample(ManagedChannel channel) {
    this.channel = channel;
  }

  public static void main(String[] args) throws Exception {
    String target = args.length > 0 ? args[0] : "127.0.0.1:50051";
    ManagedChannel channel =
        Grpc.newChannelBuilder(target, InsecureChannelCredentials.create()).build();
    try {
      new ChatExample(channel).run(List.of("Hello, Parley!", "Is anybody there?", "Good night."));
    } finally {
      channel.shutdownNow();
    }
  }

  private void run(List<String> texts) throws Exception {
    for (String text : texts) {
      String requestId = UUID.randomUUID().toString();
      var note = SendRequest.newBuilder().setConversationId(ME + ":" + ME).setText(text);
      outbox.put(requestId, note.setRequestId(requestId).build());
    }
    String token = logIn();
    while (true) {
      StatusRuntimeException end = new Session().run(token);
      Status status = end.getStatus();
      if (status.isOk() && outbox.isEmpty()) {
        System.out.println("done");
        return;
      }
      long waitMillis = retryDelayMillis(end);
      switch (status.getCode()) {
        case OK, UNAVAILABLE, CANCELLED, INTERNAL, UNKNOWN, ABORTED, DEADLINE_EXCEEDED -> {}
        case UNAUTHENTICATED -> token = logIn();
        default -> {
          if (waitMillis == 0) {
            throw end; // the next stream would meet the same
          }
        }
      }
      waitMillis += ThreadLocalRandom.current().nextLong(pauseMillis);
      pauseMillis = Math.min(2 * pauseMillis, LAST_PAUSE_MILLIS);
      System.out.printf("the stream ended: %s; again in %d ms%n", end.getMessage(), waitMillis);
      Thread.sleep(waitMillis);
      channel.resetConnectBackoff(); // the pause was ours; gRPC's own can be of two minutes
    }
  }

  private String logIn() {
    var stub = ChatServiceGrpc.newBlockingStub(channel).withDeadlineAfter(10, TimeUnit.SECONDS);
    try {
      var account = RegisterRequest.newBuilder().setUsername(ME).setPassword(PASSWORD).build();
      return stub.register(account).getAccessToken();
    } catch (StatusRuntimeException refused) {
      // Most likely the name is taken, by this example; else Login fails, too, and says why.
      var login = LoginRequest.newBuilder().setUsername(ME).setPassword(PASSWORD).build();
      return stub.login(login).getAccessToken();
    }
  }

  private static long retryDelayMillis(StatusRuntimeException end)
      throws InvalidProtocolBufferException {
    for (var detail : StatusProto.fromThrowable(end).getDetailsList()) {
      if (detail.is(RetryInfo.class)) {
        return Durations.toMillis(detail.unpack(RetryInfo.class).getRetryDelay());
      }
    }
    return 0;
  }

  /** One stream. All but `run` happens on gRPC's thread, one frame after the other. */
  private final class Session implements ClientResponseObserver<ChatRequest, ChatResponse> {
    private final CompletableFuture<StatusRuntimeException> end = new CompletableFuture<>();
    private final List<SendRequest> unanswered = List.copyOf(outbox.values());
    private ClientCallStreamObserver<ChatRequest> requests;
    private volatile long frameCount;
    private long welcomedEpoch;
    private boolean isClosing;

    /** Gives the status with which the stream ended. */
    StatusRuntimeException run(String token) throws InterruptedException, ExecutionException {
      var headers = new Metadata();
      headers.put(
          Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
      ChatServiceGrpc.newStub(channel)
          .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers))
          .chat(this)
          .onNext(hello());
      while (true) {
        long framesBefore = frameCount;
        try {
          return end.get(3 * HEARTBEAT_SECONDS, TimeUnit.SECONDS);
        } catch (TimeoutException silence) {
          if (frameCount == framesBefore) {
            finish(Status.UNAVAILABLE.withDescription("no heartbeat").asRuntimeException());
          }
        }
      }
    }

    private ChatRequest hello() {
      var hello =
          Hello.newBuilder()
              .setDeviceId("example")
              .setStart(Start.START_FROM_ACKS)
              .setEpoch(epoch)
              .setHeartbeat(Durations.fromSeconds(HEARTBEAT_SECONDS));
      positions.forEach((conversation, seq) -> hello.addPositions(position(conversation, seq)));
      return ChatRequest.newBuilder().setCorrelationId(1).setHello(hello).build();
    }

    @Override
    public void beforeStart(ClientCallStreamObserver<ChatRequest> requests) {
      this.requests = requests;
    }

    @Override
    public void onNext(ChatResponse frame) {
      frameCount++;
      if (end.isDone()) {
        return; // it was on its way when the stream was given up
      }
      if (frame.getResultsCount() > 0 && !wasBroken) {
        wasBroken = true;
        System.out.println("losing the answer, as if the network broke here");
        finish(Status.CANCELLED.withDescription("on purpose").asRuntimeException());
        return;
      }
      frame.getWelcomesList().forEach(welcome -> begin(welcome.getEpoch()));
      for (var reset : frame.getResetsList()) {
        positions.merge(reset.getConversationId(), reset.getSeq(), Math::min);
      }
      if (frame.getMessagesCount() > 0 || frame.getCaughtUpCount() > 0) {
        epoch = welcomedEpoch; // not before: all resets have come by now
      }
      receive(frame.getMessagesList());
      for (var mark : frame.getCaughtUpList()) {
        if (!mark.getConversationId().isEmpty()) { // empty: the user has no conversation yet
          positions.merge(mark.getConversationId(), mark.getSeq(), Math::max);
        }
      }
      frame.getResultsList().forEach(this::settle);
      for (var error : frame.getErrorsList()) {
        finish(StatusProto.toStatusRuntimeException(error.getError()));
      }
      boolean hasAll =
          outbox.isEmpty() && positions.getOrDefault(ME + ":" + ME, 0L) >= lastStoredSeq;
      if (hasAll && !isClosing && !end.isDone()) {
        isClosing = true;
        requests.onCompleted(); // the server ends its half with OK
      }
    }

    private void begin(long welcomedEpoch) {
      this.welcomedEpoch = welcomedEpoch;
      pauseMillis = FIRST_PAUSE_MILLIS;
      var send = SendFrame.newBuilder().addAllRequests(unanswered);
      if (!unanswered.isEmpty()) {
        requests.onNext(ChatRequest.newBuilder().setCorrelationId(2).setSend(send).build());
      }
    }

    private void receive(List<Message> messages) {
      var ack = AckFrame.newBuilder();
      for (Message message : messages) {
        long seq = message.getSeq();
        if (seq > positions.getOrDefault(message.getConversationId(), 0L)) {
          System.out.printf(
              "received %d from %s: %s%n", seq, message.getSender(), message.getText());
          positions.put(message.getConversationId(), seq);
          ack.addPositions(position(message.getConversationId(), seq));
        }
      }
      if (ack.getPositionsCount() > 0 && !isClosing) {
        requests.onNext(ChatRequest.newBuilder().setCorrelationId(3).setAck(ack).build());
      }
    }

    private void settle(SendResult result) {
      if (result.hasError()) {
        finish(StatusProto.toStatusRuntimeException(result.getError()));
        return;
      }
      var accepted = result.getAccepted();
      outbox.remove(unanswered.get(result.getIndex()).getRequestId());
      lastStoredSeq = Math.max(lastStoredSeq, accepted.getSeq());
      String twice = accepted.getDeduplicated() ? ", by an earlier stream" : "";
      System.out.printf("stored as %d%s%n", accepted.getSeq(), twice);
    }

    private void finish(StatusRuntimeException why) {
      end.complete(why);
      requests.cancel(why.getMessage(), null);
    }

    @Override
    public void onError(Throwable refused) {
      end.complete((StatusRuntimeException) refused);
    }

    @Override
    public void onCompleted() {
      end.complete(Status.OK.asRuntimeException());
    }

    private static Position position(String conversationId, long seq) {
      return Position.newBuilder().setConversationId(conversationId).setSeq(seq).build();
    }
  }
}
