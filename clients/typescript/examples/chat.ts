/**
 * Logs in, sends three notes to itself on a stream that breaks in the middle, resumes it and acknowledges what came.
 * Arguments: [host:port].
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type CallOptions,
  type ClientDuplexStream,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import * as parley from "parley-client";

type Chat = ClientDuplexStream<parley.ChatRequest, parley.ChatResponse>;

const ME = { username: "hello-typescript", password: "correct horse battery staple" };
const CONVERSATION = `${ME.username}:${ME.username}`; // the direct conversation with oneself
const PASSING = [status.UNAVAILABLE, status.CANCELLED, status.INTERNAL, status.UNKNOWN, status.ABORTED];

const client = new parley.ChatServiceClient(process.argv[2] ?? "127.0.0.1:50051", credentials.createInsecure());
const metadata = new Metadata();

// What a client keeps from one stream to the next. The request id is made once, not for each attempt: so a note is
// stored once, however often it is sent.
const outbox = ["one", "two", "three"].map((text) => ({ conversationId: CONVERSATION, text, requestId: randomUUID() }));
let position = 0n; // the highest seq that came
let stored = 0n; // the highest seq that our sends got

/** A unary call as a promise, with a deadline. */
function call<Request, Response>(
  method: (
    request: Request,
    metadata: Metadata,
    options: Partial<CallOptions>,
    done: (error: ServiceError | null, response: Response) => void,
  ) => ClientUnaryCall,
  request: Request,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    method.call(client, request, metadata, { deadline: Date.now() + 5000 }, (error, response) =>
      error === null ? resolve(response) : reject(error),
    );
  });
}

/** A frame or send that was refused; the stream goes on. */
class Refused extends Error {
  constructor(readonly status: parley.Status) {
    super(status.message);
  }
}

/** Whether to come back after this error. */
function isPassing(error: unknown): boolean {
  const { code, details } = error instanceof Refused ? error.status : statusOf(error as ServiceError);
  return PASSING.includes(code) || details.some(({ typeUrl }) => typeUrl.endsWith("/google.rpc.RetryInfo"));
}

function statusOf(error: ServiceError): parley.Status {
  const [trailer] = error.metadata?.get("grpc-status-details-bin") ?? [];
  return parley.Status.create(Buffer.isBuffer(trailer) ? parley.Status.decode(trailer) : { code: error.code });
}

/** Makes the account, or logs in when there is one. */
async function login(): Promise<void> {
  let made: { accessToken: string };
  try {
    made = await call(client.register, parley.RegisterRequest.create(ME));
  } catch (error) {
    if ((error as ServiceError).code !== status.ALREADY_EXISTS) throw error;
    made = await call(client.login, parley.LoginRequest.create(ME));
  }
  metadata.set("authorization", `Bearer ${made.accessToken}`);
}

/** Opens a stream, and holds the session on it. */
async function chat(isBreaking: boolean): Promise<void> {
  const stream = client.chat(metadata);
  stream.on("error", () => {}); // the loop over its frames throws it
  try {
    await converse(stream, isBreaking);
  } finally {
    stream.cancel();
  }
}

/** Sends the outbox, and receives until all notes came back. */
async function converse(stream: Chat, isBreaking: boolean): Promise<void> {
  // Same device, same place: what it has not acknowledged comes again.
  const hello = { deviceId: "example", start: parley.Start.FROM_ACKS };
  stream.write(parley.ChatRequest.create({ correlationId: 1n, payload: { $case: "hello", value: hello } }));
  const sent = [...outbox];
  if (sent.length > 0) {
    const value = { requests: sent };
    stream.write(parley.ChatRequest.create({ correlationId: 2n, payload: { $case: "send", value } }));
  }
  for await (const frame of stream) {
    if (isBreaking && frame.results.length + frame.messages.length > 0) {
      stream.cancel(); // before it sees an answer, as a connection can break
      continue;
    }
    for (const { error } of frame.errors) throw new Refused(parley.Status.create(error));
    for (const { index, outcome } of frame.results) {
      if (outcome?.$case !== "accepted") throw new Refused(parley.Status.create(outcome?.value));
      const { seq, deduplicated } = outcome.value;
      console.log(`stored "${sent[index]?.text}" as ${seq}, deduplicated: ${deduplicated}`);
      outbox.shift(); // answers come in the order of the sends
      if (seq > stored) stored = seq;
    }
    for (const message of frame.messages) {
      if (message.conversationId !== CONVERSATION || message.seq <= position) continue; // it came before
      console.log(`received ${message.seq} from ${message.sender}: ${message.text}`);
      position = message.seq;
      if (!stream.writable) continue; // after our end
      const value = { positions: [{ conversationId: CONVERSATION, seq: position }] };
      stream.write(parley.ChatRequest.create({ payload: { $case: "ack", value } }));
    }
    if (outbox.length === 0 && position >= stored) stream.end(); // the server then ends its half
  }
}

try {
  await login();
  for (let attempt = 0; ; attempt++) {
    try {
      await chat(attempt === 0);
      break;
    } catch (error) {
      if (attempt === 8 || !isPassing(error)) throw error;
      console.log(`the stream broke: ${error}`);
      await sleep(Math.random() * Math.min(500 * 2 ** attempt, 15_000));
    }
  }
} catch (error) {
  console.error(`chat: ${error}`);
  process.exitCode = 1;
}
client.close();
