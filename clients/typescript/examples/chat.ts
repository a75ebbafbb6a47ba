/**
 * Sends three notes to itself, and receives and acknowledges them; `session.ts` does the hard part.
 * Arguments: [host:port].
 */
import { credentials, type ServiceError, status } from "@grpc/grpc-js";
import { ChatServiceClient, RegisterRequest } from "parley-client";
import { Session } from "./session.js";

const [USERNAME, PASSWORD] = ["hello-typescript", "correct horse battery staple"];
const NOTES = `${USERNAME}:${USERNAME}`; // the direct conversation with oneself

/** Makes the account where there is none. */
async function register(target: string): Promise<void> {
  const client = new ChatServiceClient(target, credentials.createInsecure(), { "grpc.enable_http_proxy": 0 });
  const request = RegisterRequest.create({ username: USERNAME, password: PASSWORD });
  await new Promise<void>((resolve, reject) =>
    client.register(request, (error: ServiceError | null) =>
      error === null || error.code === status.ALREADY_EXISTS ? resolve() : reject(error),
    ),
  );
  client.close();
}

const target = process.argv[2] ?? "127.0.0.1:50051";
await register(target);
const session = await Session.open(target, USERNAME, PASSWORD, { deviceId: "example" });
let last = 0n;
for (const text of ["one", "two", "three"]) {
  last = (await session.send(NOTES, text)).seq;
  console.log(`stored as ${last}`);
}
for await (const { message } of session.messages()) {
  if (message === undefined) continue;
  console.log(`received ${message.seq}: ${message.text}`);
  session.ack(message.conversationId, message.seq);
  if (message.seq === last) break;
}
await session.close();
