package conformance;

import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import com.google.protobuf.InvalidProtocolBufferException;
import examples.Session;
import io.grpc.InsecureChannelCredentials;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import parley.v1.Accepted;

/** Drives the sessions of examples/Session.java, by their names. */
final class Sessions {
  /** A session, and its sends that are under way, by ticket. */
  private record Driven(Session session, Map<String, CompletableFuture<Accepted>> sends) {}

  private final Map<String, Driven> driven = new HashMap<>();

  JsonObject carryOut(String what, JsonObject command) throws Exception {
    String name = text(command, "session");
    if (what.equals("session_open")) {
      Session session =
          Session.open(
              text(command, "target"),
              InsecureChannelCredentials.create(),
              text(command, "username"),
              text(command, "password"),
              text(command, "device_id"),
              Duration.ofMillis(command.get("heartbeat_ms").getAsLong()));
      driven.put(name, new Driven(session, new HashMap<>()));
      return done("opened");
    }
    Session session = driven.get(name).session();
    switch (what) {
      case "session_send" -> {
        var answer = session.send(text(command, "conversation_id"), text(command, "text"));
        driven.get(name).sends().put(text(command, "ticket"), answer);
        return done("sending");
      }
      case "session_sent" -> {
        return outcome(driven.get(name).sends().get(text(command, "ticket")), limit(command));
      }
      case "session_next" -> {
        return next(session, limit(command));
      }
      case "session_ack" -> {
        session.ack(text(command, "conversation_id"), command.get("seq").getAsLong());
        return done("acked");
      }
      case "session_close" -> {
        session.close(limit(command));
        return done("closed");
      }
      default -> throw new IllegalArgumentException("there is no command " + what);
    }
  }

  private static JsonObject outcome(CompletableFuture<Accepted> answer, Duration limit)
      throws InterruptedException, InvalidProtocolBufferException {
    try {
      Accepted accepted = answer.get(limit.toMillis(), TimeUnit.MILLISECONDS);
      return Json.object("accepted", Json.fromMessage(accepted));
    } catch (ExecutionException refused) {
      return Json.object("error", Errors.toJson(refused.getCause()));
    } catch (TimeoutException none) {
      return done("nothing");
    }
  }

  private static JsonObject next(Session session, Duration limit)
      throws InterruptedException, InvalidProtocolBufferException {
    try {
      Session.Entry entry = session.next(limit);
      if (entry == null && session.isEnded()) {
        return Json.object("end", Json.object("code", new JsonPrimitive("OK")));
      }
      if (entry == null) {
        return done("nothing");
      }
      return entry.message() != null
          ? Json.object("message", Json.fromMessage(entry.message()))
          : Json.object("reset", Json.fromMessage(entry.reset()));
    } catch (StatusRuntimeException end) {
      return Json.object("end", Errors.toJson(end));
    }
  }

  private static JsonObject done(String what) {
    return Json.object(what, new JsonPrimitive(true));
  }

  private static String text(JsonObject command, String key) {
    return command.get(key).getAsString();
  }

  private static Duration limit(JsonObject command) {
    return Duration.ofMillis(command.get("timeout_ms").getAsLong());
  }
}
