package conformance;

import com.google.gson.JsonElement;
import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.UnknownFieldSet;
import parley.v1.ChatRequest;

/** The frames that a runner writes. */
final class Frames {
  private static final int NEWER_ARM = 1000;

  private Frames() {}

  static ChatRequest parse(JsonElement json) throws InvalidProtocolBufferException {
    return Json.merge(json, ChatRequest.newBuilder()).build();
  }

  /** A frame of a newer contract, with an arm that today's does not know. */
  static ChatRequest newer(long correlationId) {
    var text = ByteString.copyFromUtf8("newer");
    var arm = UnknownFieldSet.Field.newBuilder().addLengthDelimited(text).build();
    var unknown = UnknownFieldSet.newBuilder().addField(NEWER_ARM, arm).build();
    return ChatRequest.newBuilder()
        .setCorrelationId(correlationId)
        .setUnknownFields(unknown)
        .build();
  }
}
