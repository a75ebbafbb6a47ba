package conformance;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import parley.v1.ChatServiceGrpc;

/**
 * Carries out the commands that come line by line, and says what came of each; it judges nothing.
 */
public final class Runner {
  private final Channels channels = new Channels();
  private final Map<String, OpenStream> streams = new HashMap<>();
  private final Sessions sessions = new Sessions();

  public static void main(String[] args) throws Exception {
    var runner = new Runner();
    var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    var out =
        new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
    out.println(whoAmI());
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      out.println(runner.answer(Json.parse(line)));
    }
    System.exit(0); // streams that are still open end with the program
  }

  /** The jars of both packages name their versions in their manifests. */
  private static JsonObject whoAmI() {
    String grpcVersion = ManagedChannel.class.getPackage().getImplementationVersion();
    JsonObject me = Json.object("runner", new JsonPrimitive("java"));
    me.addProperty("version", ChatServiceGrpc.class.getPackage().getImplementationVersion());
    me.addProperty("runtime", "java " + Runtime.version() + ", grpc-java " + grpcVersion);
    return me;
  }

  private JsonObject answer(JsonObject command) throws InterruptedException {
    try {
      return carryOut(command);
    } catch (StatusRuntimeException refused) {
      return Json.object("error", Errors.toJson(refused));
    } catch (Exception unforeseen) {
      return Json.object("failed", new JsonPrimitive(unforeseen.toString()));
    }
  }

  private JsonObject carryOut(JsonObject command) throws Exception {
    String what = command.get("do").getAsString();
    if (what.startsWith("session_")) {
      return sessions.carryOut(what, command);
    }
    return switch (what) {
      case "call" -> {
        JsonElement request = command.get("request");
        String method = command.get("method").getAsString();
        yield Json.object("response", UnaryMethod.of(method).call(channels, command, request));
      }
      case "page" -> Paging.readAll(channels.blockingStub(command), command.get("request"));
      case "measure" -> Measurement.run(channels.asyncStub(command), command);
      case "open" -> {
        streams.put(nameOf(command), OpenStream.open(channels.asyncStub(command), command));
        yield done("opened", true);
      }
      case "write" -> done("written", stream(command).write(Frames.parse(command.get("frame"))));
      case "write_newer" -> {
        long correlationId = command.get("correlation_id").getAsLong();
        yield done("written", stream(command).write(Frames.newer(correlationId)));
      }
      case "read" -> stream(command).read(command.get("timeout_ms").getAsLong());
      case "close" -> {
        stream(command).close();
        yield done("closed", true);
      }
      case "cancel" -> {
        stream(command).cancel();
        yield done("cancelled", true);
      }
      default -> throw new IllegalArgumentException("there is no command " + what);
    };
  }

  private OpenStream stream(JsonObject command) {
    return streams.get(nameOf(command));
  }

  private static String nameOf(JsonObject command) {
    return command.get("stream").getAsString();
  }

  private static JsonObject done(String what, boolean isDone) {
    return Json.object(what, new JsonPrimitive(isDone));
  }
}
