/** Drives the session that people copy. */
import { status } from "@grpc/grpc-js";
import { Accepted, Message, Reset } from "parley-client";
import { type Entry, Refused, Session } from "../examples/session.js";
import type { Answer, Command } from "./commands.js";

/** A session, its sends by ticket, and the wait for its next entry. */
interface Driven {
  session: Session;
  sends: Map<string, Promise<Answer>>;
  entries: AsyncGenerator<Entry, void, undefined>;
  next: Promise<Answer> | undefined;
}

const driven = new Map<string, Driven>();

export async function drive(command: Command): Promise<Answer> {
  if (command.do === "session_open") return open(command);
  const found = driven.get(command.session);
  if (found === undefined) throw new Error(`there is no session ${command.session}`);
  switch (command.do) {
    case "session_send":
      found.sends.set(command.ticket, sent(found.session.send(command.conversation_id, command.text)));
      return { sending: true };
    case "session_sent":
      return inTime(found.sends.get(command.ticket) as Promise<Answer>, command.timeout_ms);
    case "session_next": {
      found.next ??= next(found.entries);
      const answer = await inTime(found.next, command.timeout_ms);
      if (!("nothing" in answer)) found.next = undefined;
      return answer;
    }
    case "session_ack":
      found.session.ack(command.conversation_id, BigInt(command.seq));
      return { acked: true };
    case "session_close":
      await found.session.close(command.timeout_ms);
      return { closed: true };
  }
  throw new Error(`there is no ${command.do}`);
}

async function open(command: Command): Promise<Answer> {
  const options = { deviceId: command.device_id, heartbeatMs: command.heartbeat_ms };
  try {
    const session = await Session.open(command.target, command.username, command.password, options);
    driven.set(command.session, { session, sends: new Map(), entries: session.messages(), next: undefined });
    return { opened: true };
  } catch (error) {
    return { error: describe(error) };
  }
}

async function sent(answer: Promise<Accepted>): Promise<Answer> {
  return answer.then(
    (accepted) => ({ accepted: Accepted.toJSON(accepted) }),
    (error) => ({ error: describe(error) }),
  );
}

async function next(entries: AsyncGenerator<Entry, void, undefined>): Promise<Answer> {
  try {
    const { done, value } = await entries.next();
    if (done) return { end: { code: "OK" } };
    return value.message ? { message: Message.toJSON(value.message) } : { reset: Reset.toJSON(value.reset) };
  } catch (error) {
    return { end: describe(error) };
  }
}

async function inTime(answer: Promise<Answer>, limitMs: number): Promise<Answer> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<Answer>((resolve) => (timer = setTimeout(resolve, limitMs, { nothing: true })));
  return Promise.race([answer, limit]).finally(() => clearTimeout(timer));
}

/** The ERROR of a session. */
function describe(error: unknown): Answer {
  if (!(error instanceof Refused)) throw error;
  const reason = error.reason === "" ? {} : { reason: error.reason };
  return { code: status[error.code], message: error.text, log: String(error), ...reason };
}
