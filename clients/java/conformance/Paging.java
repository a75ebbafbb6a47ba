package conformance;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.protobuf.InvalidProtocolBufferException;
import java.util.concurrent.TimeUnit;
import parley.v1.ChatServiceGrpc.ChatServiceBlockingStub;
import parley.v1.PullRequest;
import parley.v1.PullResponse;

/** Reads a log page by page. */
final class Paging {
  private Paging() {}

  static JsonObject readAll(ChatServiceBlockingStub stub, JsonElement requestJson)
      throws InvalidProtocolBufferException {
    PullRequest.Builder request = Json.merge(requestJson, PullRequest.newBuilder());
    var seqs = new JsonArray();
    PullResponse page;
    do {
      page = stub.withDeadlineAfter(30, TimeUnit.SECONDS).pull(request.build());
      page.getMessagesList().forEach(message -> seqs.add(Long.toString(message.getSeq())));
      request.setCursor(page.getNextCursor());
    } while (page.getHasMore());
    JsonObject answer = Json.object("seqs", seqs);
    answer.addProperty("next_cursor", Long.toString(page.getNextCursor()));
    return answer;
  }
}
