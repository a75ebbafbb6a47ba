package conformance;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.TypeRegistry;
import com.google.protobuf.util.JsonFormat;
import com.google.rpc.ErrorDetailsProto;

/** Messages to JSON and back; the details of a google.rpc.Status are written with their types. */
final class Json {
  private static final TypeRegistry DETAILS =
      TypeRegistry.newBuilder().add(ErrorDetailsProto.getDescriptor().getMessageTypes()).build();
  private static final JsonFormat.Printer PRINTER =
      JsonFormat.printer().usingTypeRegistry(DETAILS).omittingInsignificantWhitespace();
  private static final JsonFormat.Parser PARSER = JsonFormat.parser().usingTypeRegistry(DETAILS);

  private Json() {}

  static JsonObject parse(String line) {
    return JsonParser.parseString(line).getAsJsonObject();
  }

  static JsonObject object(String key, JsonElement value) {
    var object = new JsonObject();
    object.add(key, value);
    return object;
  }

  static JsonObject fromMessage(Message message) throws InvalidProtocolBufferException {
    return parse(PRINTER.print(message));
  }

  /** The builder with the JSON's fields in it; null leaves it as it is. */
  static <B extends Message.Builder> B merge(JsonElement json, B builder)
      throws InvalidProtocolBufferException {
    if (json != null) {
      PARSER.merge(json.toString(), builder);
    }
    return builder;
  }
}
