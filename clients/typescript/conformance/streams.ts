/** Open streams: what comes waits until it is read. */
import type { ClientDuplexStream, ClientReadableStream, ServiceError } from "@grpc/grpc-js";
import { ChatRequest, ChatResponse, ChatServiceService, SubscribeRequest } from "parley-client";
import { clientOf } from "./calls.js";
import { type Answer, type Command, metadataOf } from "./commands.js";
import { describe } from "./errors.js";

/** A payload of a newer contract: field 1000, length-delimited, "newer". */
const NEWER_PAYLOAD = Buffer.from("\xc2\x3e\x05newer", "latin1");

type Call = ClientDuplexStream<Buffer, ChatResponse> | ClientReadableStream<ChatResponse>;

export class Stream {
  readonly #call: Call;
  readonly #came: Answer[] = [];
  #isOpen = true;
  #wake = () => {};

  constructor(command: Command) {
    const client = clientOf(command.target);
    const metadata = metadataOf(command);
    if (command.method === "Subscribe") {
      this.#call = client.subscribe(SubscribeRequest.fromJSON(command.request), metadata);
    } else {
      // Frames are encoded by us, so that one can be of a newer contract.
      const { path, responseDeserialize } = ChatServiceService.chat;
      this.#call = client.makeBidiStreamRequest(path, (frame: Buffer) => frame, responseDeserialize, metadata);
    }
    this.#call.on("data", (frame: ChatResponse) => this.#put({ frame: ChatResponse.toJSON(frame) }));
    this.#call.on("error", (error: ServiceError) => this.#end(describe(error)));
    this.#call.on("end", () => this.#end({ code: "OK" })); // after an error: too late to count
  }

  write(frame: unknown): Answer {
    return this.#write(ChatRequest.encode(ChatRequest.fromJSON(frame)).finish());
  }

  writeNewer(correlationId: number): Answer {
    const frame = ChatRequest.encode(ChatRequest.create({ correlationId: BigInt(correlationId) })).finish();
    return this.#write(Buffer.concat([frame, NEWER_PAYLOAD]));
  }

  async read(timeoutMs: number): Promise<Answer> {
    if (this.#came.length === 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.#came.shift() ?? { nothing: true };
  }

  close(): Answer {
    if ("end" in this.#call) this.#call.end();
    return { closed: true };
  }

  cancel(): Answer {
    this.#call.cancel();
    return { cancelled: true };
  }

  #write(frame: Uint8Array): Answer {
    if (!("write" in this.#call)) throw new Error("Subscribe takes no frames");
    const isWritable = this.#isOpen && this.#call.writable;
    if (isWritable) this.#call.write(Buffer.from(frame));
    return { written: isWritable };
  }

  #end(end: Answer): void {
    if (this.#isOpen) this.#put({ end });
    this.#isOpen = false;
  }

  #put(answer: Answer): void {
    this.#came.push(answer);
    this.#wake();
  }
}
