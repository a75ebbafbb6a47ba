package examples;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Timestamp;
import com.google.protobuf.util.Durations;
import com.google.protobuf.util.Timestamps;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import io.grpc.stub.MetadataUtils;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import parley.v1.Accepted;
import parley.v1.AckFrame;
import parley.v1.Authenticate;
import parley.v1.ChatRequest;
import parley.v1.ChatResponse;
import parley.v1.ChatServiceGrpc;
import parley.v1.ChatServiceGrpc.ChatServiceBlockingStub;
import parley.v1.Hello;
import parley.v1.LoginRequest;
import parley.v1.Message;
import parley.v1.Position;
import parley.v1.RefreshTokenRequest;
import parley.v1.Reset;
import parley.v1.SendFrame;
import parley.v1.SendRequest;
import parley.v1.Start;
import parley.v1.Welcome;

/**
 * A device's session with Parley that outlives its connections: one file to copy, on the stubs
 * alone. Thread-safe. docs/clients.md has the rules.
 *
 * <p>A thread of its own opens one stream after the other and writes; gRPC's threads read. All of
 * them, and the program's, hold this object's lock while they look at what it keeps.
 */
public final class Session {
  private static final int FIRST_PAUSE_MILLIS = 500;
  private static final int LAST_PAUSE_MILLIS = 15_000;
  private static final int ACK_MILLIS = 1_000;
  private static final int CALL_MILLIS = 10_000;
  private static final long NEVER = Long.MAX_VALUE;

  /** Sends without a final answer; one more is refused. */
  private static final int MAX_UNANSWERED = 1_000;

  /** Entries that came and are not acknowledged; the server holds back what is beyond. */
  private static final int WINDOW = 1_000;

  /** The server ends a stream with a frame above 256 KiB; the rest is for what is around a send. */
  private static final int MAX_SEND_BYTES = 256 * 1024 - 64;

  private static final int MAX_HELLO_POSITIONS = 2_000;
  private static final int MAX_ACK_POSITIONS = 1_000;

  /** The correlation_id of frames whose refusal changes nothing here: acks and tokens. */
  private static final long QUIET = 1;

  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  /**
   * What {@link #next} gives: a message, or else a reset. The server was set back then, and what
   * came of that conversation above its seq is void.
   */
  public record Entry(Message message, Reset reset) {}

  private record Unanswered(SendRequest request, CompletableFuture<Accepted> answer) {}

  private final String target;
  private final ChannelCredentials credentials;
  private final String deviceId;
  private final Duration heartbeat;
  private final Thread thread = new Thread(this::run, "parley-session");

  /** One exchange of a refresh token at a time. */
  private final Object renewing = new Object();

  private String accessToken;

  /** With one request_id for all attempts: a second use with another one ends the login. */
  private RefreshTokenRequest renewal;

  private long staleAt = NEVER;

  /** The server's clock less ours; known from the first welcome on. */
  private Long clockAheadMillis;

  private final Map<String, Line> outbox = new HashMap<>();
  private final ArrayDeque<Entry> inbox = new ArrayDeque<>();

  /** By conversation: the highest seq that came, that the program took, that it acknowledged. */
  private final Map<String, Long> positions = new HashMap<>();

  private final Map<String, Long> taken = new HashMap<>();
  private final Map<String, Long> acks = new HashMap<>();

  /** Conversations whose ack the server is to be told. */
  private final Set<String> untold = new HashSet<>();

  private long ackCount;
  private long epoch;
  private long lastId = QUIET;
  private boolean isClosing;
  private StatusRuntimeException end;

  private Session(
      String target, ChannelCredentials credentials, String deviceId, Duration heartbeat) {
    this.target = target;
    this.credentials = credentials;
    this.deviceId = deviceId;
    this.heartbeat = heartbeat;
    thread.setDaemon(true);
  }

  /**
   * Logs in, and keeps a stream open until {@link #close}. Waits for a server that is away.
   *
   * @param target host:port.
   * @param deviceId the same for the same device each time: acks are kept by it.
   * @param heartbeat how often the server says that it is there, 1 s to 10 min; silence of three
   *     times that is a break.
   * @throws StatusRuntimeException the login is refused for good.
   */
  public static Session open(
      String target,
      ChannelCredentials credentials,
      String username,
      String password,
      String deviceId,
      Duration heartbeat)
      throws InterruptedException {
    var session = new Session(target, credentials, deviceId, heartbeat);
    var login =
        LoginRequest.newBuilder()
            .setUsername(username)
            .setPassword(password)
            .setDeviceId(deviceId)
            .build();
    var answer = session.call(stub -> stub.login(login));
    session.takeTokens(
        answer.getAccessToken(), answer.getRefreshToken(), answer.getAccessExpireTime());
    session.thread.start();
    return session;
  }

  /**
   * Sends a message: now, or as soon as there is a stream; those to one conversation keep their
   * order. The future gives where it is stored, or fails with a StatusRuntimeException: it had no
   * effect and never will, or the session has ended.
   */
  public CompletableFuture<Accepted> send(String conversationId, String text) {
    return send(SendRequest.newBuilder().setConversationId(conversationId).setText(text));
  }

  /** The same, for the other fields of SendRequest; with a request_id that the program keeps. */
  public synchronized CompletableFuture<Accepted> send(SendRequest.Builder message) {
    if (message.getRequestId().isEmpty()) {
      message.setRequestId(UUID.randomUUID().toString()); // of all attempts
    }
    SendRequest request = message.build();
    if (end != null || isClosing) {
      return CompletableFuture.failedFuture(end != null ? end : closed());
    }
    if (request.getSerializedSize() > MAX_SEND_BYTES) {
      return refused(Status.Code.INVALID_ARGUMENT, "MESSAGE_TOO_LARGE", "a frame has 256 KiB");
    }
    if (outbox.values().stream().mapToInt(line -> line.sends.size()).sum() >= MAX_UNANSWERED) {
      return refused(Status.Code.RESOURCE_EXHAUSTED, "OUTBOX_FULL", "1,000 sends are unanswered");
    }
    var unanswered = new Unanswered(request, new CompletableFuture<>());
    outbox.computeIfAbsent(request.getConversationId(), id -> new Line()).sends.add(unanswered);
    notifyAll();
    return unanswered.answer();
  }

  /**
   * The next message or reset, each once and in order, for one reader at a time; null when none
   * came within the limit, or after {@link #close}.
   *
   * @throws StatusRuntimeException why the session has ended; UNAUTHENTICATED: the login has.
   */
  public synchronized Entry next(Duration limit) throws InterruptedException {
    long deadline = now() + limit.toMillis();
    while (inbox.isEmpty() && end == null && now() < deadline) {
      wait(deadline - now());
    }
    Entry entry = inbox.poll();
    if (entry == null && end != null && !isClosing) {
      throw end;
    }
    if (entry != null && entry.message() != null) {
      taken.put(entry.message().getConversationId(), entry.message().getSeq());
    }
    return entry;
  }

  /**
   * Says that all up to this seq that {@link #next} gave is dealt with: it never comes to this
   * device again.
   */
  public synchronized void ack(String conversationId, long seq) {
    long known = Math.min(seq, taken.getOrDefault(conversationId, 0L));
    long before = acks.getOrDefault(conversationId, 0L);
    if (known > before) {
      acks.put(conversationId, known);
      ackCount += known - before;
      untold.add(conversationId);
      notifyAll();
    }
  }

  /** Whether the session is at its end: {@link #next} gives null for good, or throws. */
  public synchronized boolean isEnded() {
    return end != null && inbox.isEmpty();
  }

  /**
   * Waits for the answers to all sends, tells the last acks and ends the stream; at once after the
   * limit.
   */
  public void close(Duration limit) throws InterruptedException {
    synchronized (this) {
      isClosing = true;
      notifyAll();
    }
    if (!limit.isZero()) { // Thread.join takes 0 for ever
      thread.join(limit.toMillis());
    }
    finish(closed());
    thread.interrupt(); // it may be in a call
    thread.join();
  }

  private static StatusRuntimeException closed() {
    return Status.CANCELLED.withDescription("the session is closed").asRuntimeException();
  }

  private static long now() {
    return System.nanoTime() / 1_000_000;
  }

  private synchronized void finish(StatusRuntimeException why) {
    if (end == null) {
      end = why;
      outbox.values().forEach(line -> line.sends.forEach(send -> fail(send.answer(), why)));
      outbox.clear();
    }
    notifyAll();
  }

  /** Not under the lock: what waits for the answer may call anything. */
  private static void fail(CompletableFuture<Accepted> answer, StatusRuntimeException why) {
    CompletableFuture.runAsync(() -> answer.completeExceptionally(why));
  }

  // The streams, one after the other.

  private void run() {
    try {
      keepStream();
    } catch (StatusRuntimeException why) {
      finish(why);
    } catch (InterruptedException | RuntimeException unforeseen) {
      finish(Status.fromThrowable(unforeseen).asRuntimeException());
    }
  }

  private void keepStream() throws InterruptedException {
    var pause = new Pause();
    while (true) {
      var stream = new Stream(token());
      StatusRuntimeException ended = stream.follow();
      if (isSettled(ended)) {
        throw closed();
      }
      if (stream.isWelcomed) {
        pause = new Pause();
      }
      boolean isExpired = ended.getStatus().getCode() == Status.Code.UNAUTHENTICATED;
      if (!isExpired && !isPassing(ended)) {
        throw ended; // the next stream would meet the same
      }
      if (stream.leaveAt != NEVER) {
        rest(stream.leaveAt - now());
      } else if (!isExpired || !stream.isWelcomed) {
        rest(pause.next(detail(StatusProto.fromThrowable(ended), RetryInfo.class)));
      }
      if (isExpired) {
        // After the pause, in which a short token ends, also one that was renewed since the stream began.
        refresh(token());
      }
    }
  }

  /** Whether the program closes the session, and with this end all is answered and told. */
  private synchronized boolean isSettled(StatusRuntimeException ended) {
    boolean isTold = acks.isEmpty() || (untold.isEmpty() && ended.getStatus().isOk());
    untold.addAll(acks.keySet()); // those of the stream may be lost
    return isClosing && outbox.isEmpty() && isTold;
  }

  /** Waits, unless the session ends. */
  private synchronized void rest(long millis) throws InterruptedException {
    long deadline = now() + millis;
    while (end == null && now() < deadline) {
      wait(deadline - now());
    }
    if (end != null) {
      throw end;
    }
  }

  /** A channel for each stream and call: none meets a connection that hangs. */
  private ManagedChannel connect() {
    var builder = Grpc.newChannelBuilder(target, credentials);
    if (target.matches("(localhost|127\\.[0-9.]+|\\[::1]):\\d+")) {
      builder.proxyDetector(address -> null); // no proxy leads to this machine
    }
    return builder.build();
  }

  // The login.

  /** Makes a call that may be repeated, as often as it takes. */
  private <T> T call(Function<ChatServiceBlockingStub, T> method) throws InterruptedException {
    var pause = new Pause();
    while (true) {
      ManagedChannel channel = connect();
      try {
        return method.apply(
            ChatServiceGrpc.newBlockingStub(channel)
                .withDeadlineAfter(CALL_MILLIS, TimeUnit.MILLISECONDS));
      } catch (StatusRuntimeException failed) {
        if (!isPassing(failed)) {
          throw failed;
        }
        rest(pause.next(detail(StatusProto.fromThrowable(failed), RetryInfo.class)));
      } finally {
        channel.shutdownNow();
      }
    }
  }

  private synchronized String token() {
    return accessToken;
  }

  /** Exchanges the tokens, unless that was done since `token` was in force. */
  private void refresh(String token) throws InterruptedException {
    synchronized (renewing) {
      if (token().equals(token)) {
        var answer = call(stub -> stub.refreshToken(renewal));
        takeTokens(answer.getAccessToken(), answer.getRefreshToken(), answer.getAccessExpireTime());
      }
    }
  }

  private void refreshInBackground(String token) {
    Runnable refresh =
        () -> {
          try {
            refresh(token);
          } catch (InterruptedException | StatusRuntimeException failed) {
            // The stream's end says that the token has ended, and then it is tried again.
          }
        };
    var renewer = new Thread(refresh, "parley-session-renewal");
    renewer.setDaemon(true);
    renewer.start();
  }

  private synchronized void takeTokens(String access, String refresh, Timestamp expire) {
    accessToken = access;
    renewal =
        RefreshTokenRequest.newBuilder()
            .setRefreshToken(refresh)
            .setRequestId(UUID.randomUUID().toString())
            .build();
    noteLife(expire);
    notifyAll();
  }

  /** The exchange is due a minute before the token ends, or half-way, by the server's clock. */
  private void noteLife(Timestamp expire) {
    if (clockAheadMillis != null) {
      long life = Timestamps.toMillis(expire) - clockAheadMillis - now();
      staleAt = now() + Math.max(1_000, Math.max(life - 60_000, life / 2));
    }
  }

  // Errors.

  /**
   * Whether the same call, or another stream, may do better. Without an ErrorInfo most of these are
   * a proxy's, or the connection's.
   */
  private static boolean isPassing(StatusRuntimeException end) {
    return switch (end.getStatus().getCode()) {
      case OK, UNAVAILABLE, INTERNAL, UNKNOWN, CANCELLED, ABORTED, DEADLINE_EXCEEDED, DATA_LOSS ->
          true;
      case FAILED_PRECONDITION -> true; // hello came too late
      default -> detail(StatusProto.fromThrowable(end), RetryInfo.class) != null;
    };
  }

  /** The detail of this type; null when there is none. */
  private static <T extends com.google.protobuf.Message> T detail(
      com.google.rpc.Status error, Class<T> type) {
    try {
      for (var detail : error.getDetailsList()) {
        if (detail.is(type)) {
          return detail.unpack(type);
        }
      }
      return null;
    } catch (InvalidProtocolBufferException unreadable) {
      return null;
    }
  }

  /** Looks like the server's own refusals. */
  private static CompletableFuture<Accepted> refused(Status.Code code, String reason, String why) {
    var info = ErrorInfo.newBuilder().setReason(reason).setDomain("parley.v1").build();
    var error =
        com.google.rpc.Status.newBuilder()
            .setCode(code.value())
            .setMessage(why)
            .addDetails(com.google.protobuf.Any.pack(info))
            .build();
    return CompletableFuture.failedFuture(StatusProto.toStatusRuntimeException(error));
  }

  /** Growing pauses, all of them random: those who lost a server together come back apart. */
  private static final class Pause {
    private int limitMillis = FIRST_PAUSE_MILLIS;

    long next(RetryInfo retry) {
      long millis = ThreadLocalRandom.current().nextInt(limitMillis);
      limitMillis = Math.min(2 * limitMillis, LAST_PAUSE_MILLIS);
      return millis + (retry == null ? 0 : Durations.toMillis(retry.getRetryDelay()));
    }
  }

  /** The sends of a conversation, in order; the first may be under way, the others wait for it. */
  private static final class Line {
    final ArrayDeque<Unanswered> sends = new ArrayDeque<>();
    final Pause pause = new Pause();
    boolean isUnderWay;
    long dueAt;
  }

  /** One stream; the session's lock guards it. */
  private final class Stream implements ClientResponseObserver<ChatRequest, ChatResponse> {
    private final Map<Long, String> underWay = new HashMap<>();
    private final Set<String> resets = new HashSet<>();
    private ClientCallStreamObserver<ChatRequest> requests;
    private StatusRuntimeException ended;
    private String toldToken;
    private long helloId;
    private long streamEpoch;
    private boolean isWelcomed;
    private boolean isLive; // all resets are known
    private boolean isHalfClosed;
    private long leaveAt = NEVER;
    private long tellAt = NEVER;
    private long silentAt = NEVER;

    Stream(String token) {
      toldToken = token;
    }

    /** Serves the stream; gives how it ended. */
    StatusRuntimeException follow() throws InterruptedException {
      var headers = new Metadata();
      headers.put(AUTHORIZATION, "Bearer " + toldToken);
      ManagedChannel channel = connect();
      synchronized (Session.this) {
        try {
          ChatServiceGrpc.newStub(channel)
              .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers))
              .chat(this);
          greet();
          while (ended == null) {
            writeFrames();
            if (now() >= staleAt) {
              staleAt = NEVER;
              refreshInBackground(accessToken);
            }
            long dueAt = Math.min(Math.min(silentAt, staleAt), dueAt());
            if (dueAt > now()) {
              Session.this.wait(dueAt - now());
            }
            if (ended == null && now() >= silentAt) {
              ended = Status.UNAVAILABLE.withDescription("it is silent").asRuntimeException();
            }
            if (end != null) {
              throw end;
            }
          }
          return ended;
        } finally {
          // What is under way has no answer: it goes out again, before anything newer.
          outbox.values().forEach(line -> line.isUnderWay = false);
          channel.shutdownNow();
        }
      }
    }

    // What goes out.

    private void greet() {
      var hello =
          Hello.newBuilder()
              .setDeviceId(deviceId)
              .setStart(Start.START_FROM_ACKS)
              .setHeartbeat(Durations.fromMillis(heartbeat.toMillis()))
              .setEpoch(epoch)
              .setWindowMessages(Math.max(1, WINDOW - inbox.size()));
      positions.entrySet().stream()
          .limit(MAX_HELLO_POSITIONS)
          .forEach(known -> hello.addPositions(position(known.getKey(), known.getValue())));
      helloId = ++lastId;
      silentAt = now() + 3 * heartbeat.toMillis();
      write(helloId, ChatRequest.newBuilder().setHello(hello));
    }

    private void write(long correlationId, ChatRequest.Builder frame) {
      requests.onNext(frame.setCorrelationId(correlationId).build());
    }

    private void writeFrames() {
      if (isHalfClosed) {
        return;
      }
      if (isWelcomed && leaveAt == NEVER) {
        outbox.forEach(this::writeSend);
        if (!accessToken.equals(toldToken)) {
          toldToken = accessToken;
          var fresh = Authenticate.newBuilder().setAccessToken(toldToken);
          write(QUIET, ChatRequest.newBuilder().setAuthenticate(fresh));
        }
      }
      // Our half may end: all is answered, and the server or the program wants to go.
      boolean isDone = isClosing && isLive && outbox.isEmpty();
      isDone |= leaveAt != NEVER && underWay.isEmpty();
      if (now() >= tellAt() || (isDone && isLive)) {
        writeAcks();
      }
      if (isDone) {
        isHalfClosed = true;
        requests.onCompleted();
      }
    }

    private void writeSend(String conversationId, Line line) {
      if (!line.isUnderWay && line.dueAt <= now()) {
        line.isUnderWay = true;
        underWay.put(++lastId, conversationId);
        var send = SendFrame.newBuilder().addRequests(line.sends.element().request());
        write(lastId, ChatRequest.newBuilder().setSend(send));
      }
    }

    private void writeAcks() {
      List<String> ids = new ArrayList<>(untold);
      for (int first = 0; first < ids.size(); first += MAX_ACK_POSITIONS) {
        var ack = AckFrame.newBuilder();
        for (String id : ids.subList(first, Math.min(first + MAX_ACK_POSITIONS, ids.size()))) {
          ack.addPositions(position(id, acks.get(id)));
        }
        write(QUIET, ChatRequest.newBuilder().setAck(ack));
      }
      untold.clear();
      ackCount = 0;
      tellAt = now() + ACK_MILLIS;
    }

    /**
     * Acks go once a second, and at once when half of the window waits; not before all resets are
     * known, since one above a reset would skip new entries.
     */
    private long tellAt() {
      boolean isDue = isLive && !isHalfClosed && !untold.isEmpty();
      return !isDue ? NEVER : ackCount >= WINDOW / 2 ? now() : tellAt;
    }

    /** When there is something to write that is not to be written yet. */
    private long dueAt() {
      long dueAt = tellAt();
      if (isWelcomed && leaveAt == NEVER && !isHalfClosed) {
        for (Line line : outbox.values()) {
          dueAt = line.isUnderWay ? dueAt : Math.min(dueAt, line.dueAt);
        }
      }
      return dueAt;
    }

    // What comes in.

    @Override
    public void beforeStart(ClientCallStreamObserver<ChatRequest> requests) {
      this.requests = requests;
    }

    @Override
    public void onCompleted() {
      onError(Status.OK.asRuntimeException());
    }

    @Override
    public void onError(Throwable refused) {
      synchronized (Session.this) {
        ended = ended == null ? (StatusRuntimeException) refused : ended;
        Session.this.notifyAll();
      }
    }

    @Override
    public void onNext(ChatResponse frame) {
      synchronized (Session.this) {
        if (ended == null && end == null) { // else it was on its way
          silentAt = now() + 3 * heartbeat.toMillis();
          receive(frame);
          Session.this.notifyAll();
        }
      }
    }

    private void receive(ChatResponse frame) {
      for (Welcome welcome : frame.getWelcomesList()) {
        isWelcomed = true;
        streamEpoch = welcome.getEpoch();
        clockAheadMillis = Timestamps.toMillis(welcome.getServerTime()) - now();
        noteLife(welcome.getAccessExpireTime());
      }
      for (Reset reset : frame.getResetsList()) {
        resets.add(reset.getConversationId());
        makeVoid(reset);
      }
      if (frame.getMessagesCount() + frame.getCaughtUpCount() > 0) {
        beginLive();
      }
      for (Message message : frame.getMessagesList()) {
        if (message.getSeq() > positions.getOrDefault(message.getConversationId(), 0L)) {
          positions.put(message.getConversationId(), message.getSeq());
          inbox.add(new Entry(message, null)); // else it came before
        }
      }
      for (var mark : frame.getCaughtUpList()) {
        if (!mark.getConversationId().isEmpty()) {
          positions.merge(mark.getConversationId(), mark.getSeq(), Math::max);
        }
      }
      for (var result : frame.getResultsList()) {
        if (result.hasAccepted()) {
          var answer = settle(result.getCorrelationId());
          answer.completeAsync(result::getAccepted);
        } else {
          refuse(result.getCorrelationId(), result.getError());
        }
      }
      for (var away : frame.getGoAwaysList()) {
        leaveAt = now() + Durations.toMillis(away.getReconnectDelay());
      }
      frame.getErrorsList().forEach(error -> refuse(error.getCorrelationId(), error.getError()));
    }

    /**
     * The first entry or mark: all resets came. Not before: a stream that breaks between two must
     * bring all again.
     */
    private void beginLive() {
      if (isLive) {
        return;
      }
      isLive = true;
      tellAt = now();
      if (epoch != streamEpoch) {
        // What the user is in has a reset; what else was known is gone.
        for (String id : List.copyOf(positions.keySet())) {
          if (!resets.contains(id)) {
            makeVoid(Reset.newBuilder().setConversationId(id).setEpoch(streamEpoch).build());
            forget(id);
          }
        }
      }
      epoch = streamEpoch;
    }

    /** What came above the reset's seq is void, whether the program took it yet or not. */
    private void makeVoid(Reset reset) {
      String id = reset.getConversationId();
      for (var seqs : List.of(positions, taken, acks)) {
        seqs.computeIfPresent(id, (key, seq) -> Math.min(seq, reset.getSeq()));
      }
      inbox.removeIf(
          entry ->
              entry.message() != null
                  && entry.message().getConversationId().equals(id)
                  && entry.message().getSeq() > reset.getSeq());
      inbox.add(new Entry(null, reset));
    }

    private void forget(String conversationId) {
      List.of(positions, taken, acks).forEach(seqs -> seqs.remove(conversationId));
      untold.remove(conversationId);
    }

    /** Takes a send out that has its final answer; gives who waits for it. */
    private CompletableFuture<Accepted> settle(long correlationId) {
      String id = underWay.remove(correlationId);
      if (id == null) {
        return new CompletableFuture<>(); // no send's
      }
      Line line = outbox.remove(id);
      var answer = line.sends.remove().answer();
      if (!line.sends.isEmpty()) {
        var rest = new Line();
        rest.sends.addAll(line.sends);
        outbox.put(id, rest);
      }
      return answer;
    }

    /**
     * With RetryInfo a send is refused for now, else for good. Refused acks and tokens change
     * nothing; a refused hello ends the stream, or after the welcome is about one position.
     */
    private void refuse(long correlationId, com.google.rpc.Status error) {
      var retry = detail(error, RetryInfo.class);
      if (correlationId == helloId && !isWelcomed) {
        ended = StatusProto.toStatusRuntimeException(error);
      } else if (correlationId == helloId) {
        var info = detail(error, ErrorInfo.class);
        forget(info == null ? "" : info.getMetadataOrDefault("conversation_id", ""));
      } else if (retry == null) {
        fail(settle(correlationId), StatusProto.toStatusRuntimeException(error));
      } else if (underWay.containsKey(correlationId)) {
        Line line = outbox.get(underWay.remove(correlationId));
        line.isUnderWay = false;
        line.dueAt = now() + line.pause.next(retry);
      }
    }
  }

  private static Position position(String conversationId, long seq) {
    return Position.newBuilder().setConversationId(conversationId).setSeq(seq).build();
  }
}
