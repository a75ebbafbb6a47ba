package conformance;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.Durations;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;

/** How a refused call looks in Java. */
final class Errors {
  private Errors() {}

  static JsonObject toJson(Throwable refused) {
    Status status = Status.fromThrowable(refused);
    var error = new JsonObject();
    error.addProperty("code", status.getCode().name());
    if (status.isOk()) {
      return error;
    }
    error.addProperty("message", status.getDescription() == null ? "" : status.getDescription());
    error.addProperty("log", logOf(refused));
    try {
      for (Any detail : StatusProto.fromThrowable(refused).getDetailsList()) {
        addDetail(error, detail);
      }
    } catch (InvalidProtocolBufferException unreadable) {
      throw new IllegalStateException("the status has a detail that is not its type", unreadable);
    }
    return error;
  }

  private static void addDetail(JsonObject error, Any detail)
      throws InvalidProtocolBufferException {
    if (detail.is(ErrorInfo.class)) {
      var info = detail.unpack(ErrorInfo.class);
      if (info.getDomain().equals("parley.v1")) {
        var metadata = new JsonObject();
        info.getMetadataMap().forEach(metadata::addProperty);
        error.addProperty("reason", info.getReason());
        error.add("metadata", metadata);
      }
    } else if (detail.is(BadRequest.class)) {
      var fields = new JsonArray();
      detail
          .unpack(BadRequest.class)
          .getFieldViolationsList()
          .forEach(violation -> fields.add(violation.getField()));
      error.add("fields", fields);
    } else if (detail.is(RetryInfo.class)) {
      var delay = detail.unpack(RetryInfo.class).getRetryDelay();
      error.addProperty("retry_delay_ms", Durations.toMillis(delay));
    }
  }

  /** What a logged exception shows: itself and its causes, here without the frames of the stack. */
  private static String logOf(Throwable refused) {
    var log = new StringBuilder(refused.toString());
    for (Throwable cause = refused.getCause(); cause != null; cause = cause.getCause()) {
      log.append("\nCaused by: ").append(cause);
    }
    return log.toString();
  }
}
