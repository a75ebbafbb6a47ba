/** Unary calls, and the one channel of each target. */
import { type CallOptions, type ClientUnaryCall, credentials, type Metadata, type ServiceError } from "@grpc/grpc-js";
import { ChatServiceClient, PullRequest, type PullResponse } from "parley-client";
import { type Answer, type Command, message, metadataOf } from "./commands.js";
import { describe } from "./errors.js";

const DEADLINE_MS = 30_000;
const OPTIONS = {
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
  "grpc.enable_http_proxy": 0,
};

type Unary = (
  request: unknown,
  metadata: Metadata,
  options: CallOptions,
  done: (error: ServiceError | null, response: unknown) => void,
) => ClientUnaryCall;

const clients = new Map<string, ChatServiceClient>();

export function clientOf(target: string): ChatServiceClient {
  let client = clients.get(target);
  if (client === undefined) {
    client = new ChatServiceClient(target, credentials.createInsecure(), OPTIONS);
    clients.set(target, client);
  }
  return client;
}

export async function call(command: Command): Promise<Answer> {
  const request = message(`${command.method}Request`).fromJSON(command.request);
  const made = await unary(command, request);
  if ("error" in made) return made;
  return { response: message(`${command.method}Response`).toJSON(made.response) };
}

/** Reads a log page by page. */
export async function page(command: Command): Promise<Answer> {
  const request = PullRequest.fromJSON(command.request);
  const seqs: string[] = [];
  for (;;) {
    const made = await unary({ ...command, method: "Pull" }, request);
    if ("error" in made) return made;
    const { messages, nextCursor, hasMore } = made.response as PullResponse;
    seqs.push(...messages.map((message) => message.seq.toString()));
    if (!hasMore) return { seqs, next_cursor: nextCursor.toString() };
    request.cursor = nextCursor;
  }
}

function unary(command: Command, request: unknown): Promise<{ response: unknown } | { error: Answer }> {
  const client = clientOf(command.target);
  const name = command.method[0]?.toLowerCase() + command.method.slice(1);
  const method = (client as unknown as Record<string, Unary>)[name];
  if (method === undefined) throw new Error(`there is no method ${name}`);
  const deadline = Date.now() + (command.deadline_ms ?? DEADLINE_MS);
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    const pending = method.call(client, request, metadataOf(command), { deadline }, (error, response) => {
      clearTimeout(timer);
      resolve(error === null ? { response } : { error: describe(error) });
    });
    if (command.cancel_after_ms !== undefined) timer = setTimeout(() => pending.cancel(), command.cancel_after_ms);
  });
}
