/** What a command holds, and how messages are found by name. */
import { Metadata } from "@grpc/grpc-js";
import * as parley from "parley-client";

export interface Command {
  do: string;
  target: string;
  method: string;
  token?: string;
  request: unknown;
  frame: unknown;
  stream: string;
  deadline_ms?: number;
  cancel_after_ms?: number;
  timeout_ms: number;
  correlation_id: number;
  conversation_id: string;
  outstanding: number;
  count: number;
  session: string;
  ticket: string;
  text: string;
  username: string;
  password: string;
  device_id: string;
  heartbeat_ms: number;
  seq: number | string;
}

export type Answer = Record<string, unknown>;

interface Message {
  fromJSON(object: unknown): unknown;
  toJSON(message: unknown): unknown;
}

/** The message of the stubs that has this name. */
export function message(name: string): Message {
  const found = (parley as unknown as Record<string, Message | undefined>)[name];
  if (found === undefined) throw new Error(`there is no message ${name}`);
  return found;
}

export function metadataOf(command: Command): Metadata {
  const metadata = new Metadata();
  if (command.token !== undefined) metadata.set("authorization", `Bearer ${command.token}`);
  return metadata;
}
