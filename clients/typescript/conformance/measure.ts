/** How many messages a second one stream sends. */
import { ChatRequest, type ChatResponse, Start } from "parley-client";
import { clientOf } from "./calls.js";
import { type Answer, type Command, metadataOf } from "./commands.js";

const TEXT = "x".repeat(100);

/** Sends `count` messages, one a frame, with at most `outstanding` unanswered. */
export function measure(command: Command): Promise<Answer> {
  const { conversation_id: conversationId, outstanding, count } = command;
  const stream = clientOf(command.target).chat(metadataOf(command));
  let started = 0;
  let written = 0;
  let answered = 0;
  let accepted = 0;

  function writeMore(): void {
    while (written < count && written - answered < outstanding) {
      const value = { requests: [{ conversationId, text: TEXT }] };
      stream.write(ChatRequest.create({ correlationId: BigInt(++written), payload: { $case: "send", value } }));
    }
  }

  return new Promise((resolve, reject) => {
    stream.on("error", reject);
    stream.on("end", () => reject(new Error("the stream ended before all was answered")));
    stream.on("data", (frame: ChatResponse) => {
      if (frame.welcomes.length > 0) started = performance.now();
      answered += frame.results.length;
      accepted += frame.results.filter((result) => result.outcome?.$case === "accepted").length;
      if (answered === count) {
        resolve({ seconds: (performance.now() - started) / 1000, accepted });
        stream.cancel();
      } else if (started > 0) {
        writeMore();
      }
    });
    const value = { start: Start.LATEST, noEcho: true };
    stream.write(ChatRequest.create({ payload: { $case: "hello", value } }));
  });
}
