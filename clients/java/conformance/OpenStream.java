package conformance;

import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import com.google.protobuf.InvalidProtocolBufferException;
import io.grpc.Context;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import parley.v1.ChatRequest;
import parley.v1.ChatResponse;
import parley.v1.ChatServiceGrpc.ChatServiceStub;
import parley.v1.SubscribeRequest;

/** A stream whose frames are read in the background and wait here until they are asked for. */
final class OpenStream implements StreamObserver<ChatResponse> {
  /** Either a frame, or how the stream ended. */
  private record Arrival(ChatResponse frame, Throwable end) {}

  private final BlockingQueue<Arrival> arrivals = new LinkedBlockingQueue<>();
  private final Context.CancellableContext context = Context.current().withCancellation();
  private volatile boolean isEnded;
  private StreamObserver<ChatRequest> requests;

  private OpenStream() {}

  static OpenStream open(ChatServiceStub stub, JsonObject command)
      throws InvalidProtocolBufferException {
    if (command.get("method").getAsString().equals("Chat")) {
      return openChat(stub);
    }
    var request = Json.merge(command.get("request"), SubscribeRequest.newBuilder()).build();
    var stream = new OpenStream();
    stream.context.run(() -> stub.subscribe(request, stream));
    return stream;
  }

  static OpenStream openChat(ChatServiceStub stub) {
    var stream = new OpenStream();
    stream.context.run(() -> stream.requests = stub.chat(stream));
    return stream;
  }

  @Override
  public void onNext(ChatResponse frame) {
    arrivals.add(new Arrival(frame, null));
  }

  @Override
  public void onError(Throwable refused) {
    isEnded = true;
    arrivals.add(new Arrival(null, refused));
  }

  @Override
  public void onCompleted() {
    onError(Status.OK.asRuntimeException());
  }

  /** Whether the frame was handed on: not when the stream has ended. */
  boolean write(ChatRequest frame) {
    if (isEnded) {
      return false;
    }
    requests.onNext(frame);
    return true;
  }

  void close() {
    if (!isEnded) {
      requests.onCompleted();
    }
  }

  void cancel() {
    context.cancel(null);
  }

  /** The next frame; throws the status with which the stream ended. */
  ChatResponse next() throws InterruptedException {
    Arrival arrival = arrivals.take();
    if (arrival.end() != null) {
      throw Status.fromThrowable(arrival.end()).asRuntimeException();
    }
    return arrival.frame();
  }

  /** The next frame or the end, which stays for the next read, or nothing, as a runner says it. */
  JsonObject read(long timeoutMillis) throws InterruptedException, InvalidProtocolBufferException {
    Arrival arrival = arrivals.poll(timeoutMillis, TimeUnit.MILLISECONDS);
    if (arrival == null) {
      return Json.object("nothing", new JsonPrimitive(true));
    }
    if (arrival.end() == null) {
      return Json.object("frame", Json.fromMessage(arrival.frame()));
    }
    arrivals.add(arrival);
    return Json.object("end", Errors.toJson(arrival.end()));
  }
}
