package conformance;

import com.google.gson.JsonObject;
import io.grpc.ConnectivityState;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.stub.AbstractStub;
import io.grpc.stub.MetadataUtils;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import parley.v1.ChatServiceGrpc;
import parley.v1.ChatServiceGrpc.ChatServiceBlockingStub;
import parley.v1.ChatServiceGrpc.ChatServiceStub;

/** One channel a target, kept, and stubs on it with the command's token. */
final class Channels {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
  private static final long RECONNECT_MILLIS = 500;

  private final Map<String, ManagedChannel> channels = new HashMap<>();
  private final ScheduledExecutorService reconnects = Executors.newSingleThreadScheduledExecutor();

  ChatServiceBlockingStub blockingStub(JsonObject command) {
    return withToken(ChatServiceGrpc.newBlockingStub(channel(command)), command);
  }

  ChatServiceStub asyncStub(JsonObject command) {
    return withToken(ChatServiceGrpc.newStub(channel(command)), command);
  }

  private static <S extends AbstractStub<S>> S withToken(S stub, JsonObject command) {
    var headers = new Metadata();
    if (command.has("token")) {
      headers.put(AUTHORIZATION, "Bearer " + command.get("token").getAsString());
    }
    return stub.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers));
  }

  private ManagedChannel channel(JsonObject command) {
    return channels.computeIfAbsent(command.get("target").getAsString(), this::connect);
  }

  /** grpc-java has no setting for the longest pause between two attempts, so the pause is cut. */
  private ManagedChannel connect(String target) {
    var credentials = InsecureChannelCredentials.create();
    ManagedChannel channel =
        Grpc.newChannelBuilder(target, credentials).proxyDetector(address -> null).build();
    Runnable cutPause =
        () -> {
          if (channel.getState(false) == ConnectivityState.TRANSIENT_FAILURE) {
            channel.resetConnectBackoff();
          }
        };
    reconnects.scheduleWithFixedDelay(
        cutPause, RECONNECT_MILLIS, RECONNECT_MILLIS, TimeUnit.MILLISECONDS);
    return channel;
  }
}
