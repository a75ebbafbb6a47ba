/**
 * A device's session with Parley that outlives its connections. Copy this file as it stands; it needs the stubs alone.
 *
 *     const session = await Session.open("127.0.0.1:50051", "alice", "a long password", { deviceId: "laptop" });
 *     const accepted = await session.send("alice:bob", "Hello!"); // stored once, however often the connection breaks
 *     for await (const entry of session.messages()) {
 *       if (entry.message !== undefined) session.ack(entry.message.conversationId, entry.message.seq);
 *     }
 *
 * `chat.ts` beside it is a whole program. docs/clients.md has the rules that are kept here, and why.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type ChannelCredentials, type ClientDuplexStream, credentials, Metadata, status } from "@grpc/grpc-js";
import type { CallOptions, ClientUnaryCall, ServiceError } from "@grpc/grpc-js";
import * as parley from "parley-client";

type Chat = ClientDuplexStream<parley.ChatRequest, parley.ChatResponse>;
type Payload = NonNullable<parley.ChatRequest["payload"]>;
type Unary<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  done: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

const CALL_MS = 10_000;
const ACK_MS = 1_000;
const OUTBOX_SENDS = 1_000; // sends without a final answer; one more is refused
const WINDOW_ENTRIES = 1_000; // entries that came and are not acknowledged; the server holds back what is beyond
const FRAME_BYTES = 256 * 1024 - 64;
const [HELLO_POSITIONS, ACK_POSITIONS] = [2_000, 1_000]; // in a frame
const QUIET_ID = 1n; // the correlationId of frames whose refusal changes nothing here
/** The transport's own ends, by which proxies tell of a server that went; FAILED_PRECONDITION: the hello came late. */
const PASSING = [
  ...[status.OK, status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.CANCELLED, status.UNKNOWN, status.INTERNAL],
  ...[status.ABORTED, status.DATA_LOSS, status.FAILED_PRECONDITION],
];

/** What was refused, or how a stream ended. `reason` is "" where that does not come from Parley. */
export class Refused extends Error {
  readonly conversationId: string = "";
  /** The RetryInfo's. */
  readonly retryMs: number | undefined;

  constructor(
    readonly code: status,
    readonly text: string,
    readonly reason: string = "",
    details: parley.Status["details"] = [],
  ) {
    super(text);
    for (const { typeUrl, value } of details) {
      if (typeUrl.endsWith("/google.rpc.ErrorInfo")) {
        const info = parley.ErrorInfo.decode(value);
        this.reason = info.reason;
        this.conversationId = info.metadata.conversation_id ?? "";
      } else if (typeUrl.endsWith("/google.rpc.RetryInfo")) {
        this.retryMs = toMs(parley.RetryInfo.decode(value).retryDelay);
      }
    }
    this.message = `${this.reason || status[code]}: ${text}`;
  }

  static from(error: ServiceError | parley.Status): Refused {
    if (!("metadata" in error)) return new Refused(error.code, error.message, "", error.details);
    const [trailer] = error.metadata?.get("grpc-status-details-bin") ?? [];
    if (Buffer.isBuffer(trailer)) return Refused.from(parley.Status.decode(trailer));
    return new Refused(error.code, error.details);
  }

  /** Whether the same call, or another stream, may do better. */
  get isPassing(): boolean {
    return this.retryMs !== undefined || PASSING.includes(this.code);
  }
}

/** What came: one of the two. After a reset, what came of its conversation above its seq is void. */
export type Entry = { message: parley.Message; reset?: undefined } | { message?: undefined; reset: parley.Reset };

export interface Options {
  /** The same for the same device each time: acks are kept by it. */
  deviceId: string;
  /** Such as `credentials.createSsl()`; not given: no TLS. */
  tls?: ChannelCredentials;
  /** How often the server says that it is there; silence of three times that is a break. */
  heartbeatMs?: number;
}

/** A send without a final answer. */
interface Send {
  request: parley.SendRequest;
  resolve: (accepted: parley.Accepted) => void;
  reject: (error: Error) => void;
  isUnderWay: boolean;
  dueTime: number;
  attempt: number;
}

const now = () => performance.now();
const toMs = (of: { seconds: bigint; nanos: number } | undefined) =>
  Number(of?.seconds ?? 0n) * 1000 + (of?.nanos ?? 0) / 1e6;
const smaller = (a: bigint, b: bigint) => (a < b ? a : b);

/** How long to wait after so many failures; all of it random, so that not all come back together. */
function pauseMs(attempt: number, atLeastMs = 0): number {
  return atLeastMs + Math.random() * Math.min(500 * 2 ** attempt, 15_000);
}

/** One device of one login, on one stream at a time. */
export class Session {
  // What outlives a stream. Positions: the highest seq that came; those that moved last are at the end.
  #epoch = 0n;
  #attempt = 0;
  #lastId = QUIET_ID;
  readonly #positions = new Map<string, bigint>();
  readonly #taken = new Map<string, bigint>(); // the highest seq that the program took
  readonly #acks = new Map<string, bigint>();
  readonly #outbox = new Map<string, Send[]>(); // of each conversation the first alone may be under way
  #inbox: Entry[] = [];
  #filled = () => {};
  #running: Promise<void> = Promise.resolve();
  readonly #ending = new AbortController();
  #isClosing = false;
  #end: Error | undefined;
  // The login. The server's clock less ours: known from the first welcome on.
  #token = "";
  #renewal = parley.RefreshTokenRequest.create();
  #renewing: Promise<void> | undefined;
  #aheadMs: number | undefined;
  #staleTime = Infinity;
  // What belongs to a stream.
  #stream: Chat | undefined;
  #timer: NodeJS.Timeout | undefined;
  #helloId = 0n;
  #streamEpoch = 0n;
  #isWelcomed = false;
  #isLive = false;
  #hasFreshToken = false;
  #leaveTime: number | undefined; // when to come back after a go_away
  #tellTime = 0; // of the next acks
  #ackCount = 0;
  readonly #underWay = new Map<bigint, Send>();
  #untold = new Set<string>(); // conversations whose ack the server is to be told

  private constructor(
    readonly target: string,
    readonly options: Options,
  ) {}

  /** Logs in, and keeps a stream open until `close`. Waits for a server that is away; rejects what never will be. */
  static async open(target: string, username: string, password: string, options: Options): Promise<Session> {
    const session = new Session(target, options);
    const request = parley.LoginRequest.create({ username, password, deviceId: options.deviceId });
    session.#takeTokens(await session.#call((client) => client.login, request));
    session.#running = session.#run();
    return session;
  }

  /**
   * Sends a message, and resolves when it is stored; calls for one conversation keep their order. Rejects what had no
   * effect and never will (OUTBOX_FULL when 1,000 wait), or when the session has ended. `more` are other fields.
   */
  send(conversationId: string, text: string, more: Partial<parley.SendRequest> = {}): Promise<parley.Accepted> {
    const requestId = more.requestId || randomUUID(); // of all attempts
    const request = parley.SendRequest.create({ ...more, conversationId, text, requestId });
    return new Promise((resolve, reject) => {
      const waiting = [...this.#outbox.values()].reduce((count, sends) => count + sends.length, 0);
      if (this.#end || this.#isClosing) {
        reject(this.#end ?? new Refused(status.CANCELLED, "the session is closed"));
      } else if (parley.SendRequest.encode(request).finish().length > FRAME_BYTES) {
        // gRPC would end the stream, and the next one too.
        reject(new Refused(status.INVALID_ARGUMENT, "a frame has at most 256 KiB", "MESSAGE_TOO_LARGE"));
      } else if (waiting >= OUTBOX_SENDS) {
        reject(new Refused(status.RESOURCE_EXHAUSTED, `${OUTBOX_SENDS} sends wait for an answer`, "OUTBOX_FULL"));
      } else {
        const send: Send = { request, resolve, reject, isUnderWay: false, dueTime: 0, attempt: 0 };
        this.#outbox.set(conversationId, [...(this.#outbox.get(conversationId) ?? []), send]);
        this.#write();
      }
    });
  }

  /** Gives entries, each once and in order, until `close`; throws why the session has ended. One reader at a time. */
  async *messages(): AsyncGenerator<Entry, void, undefined> {
    for (;;) {
      const entry = this.#inbox.shift();
      if (entry !== undefined) {
        if (entry.message) this.#taken.set(entry.message.conversationId, entry.message.seq);
        yield entry;
      } else if (this.#end && !this.#isClosing) {
        throw this.#end;
      } else if (this.#end) {
        return;
      } else {
        await new Promise<void>((resolve) => (this.#filled = resolve));
      }
    }
  }

  /** Says that all up to `seq` that `messages` gave is dealt with: it never comes to this device again. */
  ack(conversationId: string, seq: bigint): void {
    const before = this.#acks.get(conversationId) ?? 0n;
    const upTo = smaller(seq, this.#taken.get(conversationId) ?? 0n);
    if (upTo <= before) return;
    this.#acks.set(conversationId, upTo);
    this.#ackCount += Number(upTo - before);
    this.#untold.add(conversationId);
    this.#write();
  }

  /** Waits for the answers to all sends, tells the last acks and ends the stream; at once after the limit. */
  async close(limitMs = 10_000): Promise<void> {
    this.#isClosing = true;
    this.#write();
    const limit = new AbortController();
    await Promise.race([this.#running, sleep(limitMs, undefined, { signal: limit.signal }).catch(() => {})]);
    limit.abort();
    this.#ending.abort();
    this.#stream?.cancel();
    await this.#running;
  }

  // The streams, one after the other.

  async #run(): Promise<void> {
    try {
      await this.#keepStream();
      this.#end = new Refused(status.CANCELLED, "the session is closed");
    } catch (error) {
      this.#end = error as Error;
    }
    for (const send of [...this.#outbox.values()].flat()) send.reject(this.#end);
    this.#filled();
  }

  async #keepStream(): Promise<void> {
    while (!this.#ending.signal.aborted) {
      const end = await this.#runStream();
      const isExpired = end.code === status.UNAUTHENTICATED;
      if (this.#isClosing && this.#outbox.size === 0 && (end.code === status.OK || !this.#isWelcomed)) return;
      if (!isExpired && !end.isPassing) throw end;
      let waitMs = 0;
      if (this.#leaveTime !== undefined) waitMs = Math.max(0, this.#leaveTime - now());
      else if (!isExpired || !this.#isWelcomed) waitMs = pauseMs(this.#attempt++, end.retryMs);
      await this.#pause(waitMs);
      // After the pause, in which a short token ends, also one that was renewed since the stream began.
      if (isExpired) await this.#refresh(this.#token);
    }
  }

  async #pause(waitMs: number): Promise<void> {
    await sleep(waitMs, undefined, { signal: this.#ending.signal }).catch(() => {});
  }

  /** Serves one stream, and says how it ended. */
  async #runStream(): Promise<Refused> {
    this.#isWelcomed = this.#isLive = this.#hasFreshToken = false;
    this.#leaveTime = undefined;
    const client = this.#dial();
    const metadata = new Metadata();
    metadata.set("authorization", `Bearer ${this.#token}`);
    const stream = client.chat(metadata);
    try {
      return await new Promise<Refused>((resolve) => {
        const silent = new Refused(status.UNAVAILABLE, "the server is silent");
        const silenceMs = 3 * (this.options.heartbeatMs ?? 10_000);
        const silence = setTimeout(() => resolve(silent), silenceMs);
        stream.on("data", (frame: parley.ChatResponse) => {
          silence.refresh();
          const refused = this.#receive(frame);
          if (refused) resolve(refused);
        });
        stream.on("error", (error: ServiceError) => resolve(Refused.from(error)));
        stream.on("end", () => setImmediate(resolve, new Refused(status.OK, "the server ended the stream")));
        stream.on("close", () => clearTimeout(silence));
        stream.write(this.#makeHello());
        this.#stream = stream;
      });
    } finally {
      this.#stream = undefined;
      clearTimeout(this.#timer);
      stream.removeAllListeners("data");
      stream.cancel();
      client.close();
      this.#underWay.clear(); // it goes out again, before anything newer
      for (const [first] of this.#outbox.values()) if (first) first.isUnderWay = false;
    }
  }

  /** A channel for one stream or call: so none meets a connection that hangs, or the pauses of a channel. */
  #dial(): parley.ChatServiceClient {
    const isLoopback = /^(localhost|127\.[\d.]+|\[::1\]):/.test(this.target);
    return new parley.ChatServiceClient(this.target, this.options.tls ?? credentials.createInsecure(), {
      "grpc.use_local_subchannel_pool": 1,
      ...(isLoopback ? { "grpc.enable_http_proxy": 0 } : {}), // no proxy leads to this machine
    });
  }

  // The login.

  /** Makes a call that may be repeated, as often as it takes. */
  async #call<Request, Response>(
    method: (client: parley.ChatServiceClient) => Unary<Request, Response>,
    request: Request,
  ): Promise<Response> {
    for (let attempt = 0; ; attempt++) {
      const client = this.#dial();
      try {
        return await new Promise((resolve, reject) => {
          const options = { deadline: Date.now() + CALL_MS };
          const done = (error: ServiceError | null, response: Response) => (error ? reject(error) : resolve(response));
          method(client).call(client, request, new Metadata(), options, done);
        });
      } catch (error) {
        const refused = Refused.from(error as ServiceError);
        if (!refused.isPassing || this.#ending.signal.aborted) throw refused;
        await this.#pause(pauseMs(attempt, refused.retryMs));
      } finally {
        client.close();
      }
    }
  }

  /** Exchanges the tokens, unless that was done since `token` was in force; one exchange at a time. */
  async #refresh(token: string): Promise<void> {
    if (this.#token !== token) return;
    this.#renewing ??= this.#call((client) => client.refreshToken, this.#renewal)
      .then((answer) => {
        this.#takeTokens(answer);
        this.#hasFreshToken = true;
        this.#write();
      })
      .finally(() => (this.#renewing = undefined));
    await this.#renewing;
  }

  #takeTokens(answer: parley.LoginResponse | parley.RefreshTokenResponse): void {
    this.#token = answer.accessToken;
    // One id for all attempts to spend this refresh token: a second use with another one ends the login.
    this.#renewal = parley.RefreshTokenRequest.create({ refreshToken: answer.refreshToken, requestId: randomUUID() });
    this.#noteLife(answer.accessExpireTime);
  }

  /** The exchange is due a minute before the access token ends, or half-way, by the server's clock. */
  #noteLife(expireTime: Date | undefined): void {
    if (this.#aheadMs === undefined) return;
    const lifeMs = (expireTime?.getTime() ?? 0) - this.#aheadMs - now();
    this.#staleTime = now() + Math.max(1000, lifeMs - 60_000, lifeMs / 2);
  }

  // What goes out.

  #makeHello(): parley.ChatRequest {
    this.#helloId = ++this.#lastId;
    const newest = [...this.#positions].slice(-HELLO_POSITIONS); // the others begin after their acks
    const heartbeatMs = this.options.heartbeatMs ?? 10_000;
    const seconds = BigInt(Math.floor(heartbeatMs / 1000));
    const value = parley.Hello.create({
      deviceId: this.options.deviceId,
      start: parley.Start.FROM_ACKS,
      positions: newest.map(([conversationId, seq]) => ({ conversationId, seq })),
      heartbeat: { seconds, nanos: (heartbeatMs % 1000) * 1e6 },
      epoch: this.#epoch,
      windowMessages: BigInt(Math.max(1, WINDOW_ENTRIES - this.#inbox.length)),
    });
    return parley.ChatRequest.create({ correlationId: this.#helloId, payload: { $case: "hello", value } });
  }

  /** Writes what is due, and looks again when more may be. */
  #write(): void {
    const stream = this.#stream;
    if (!stream?.writable) return;
    const put = (correlationId: bigint, payload: Payload) =>
      stream.write(parley.ChatRequest.create({ correlationId, payload }));
    for (const send of this.#listReady().filter(({ dueTime }) => dueTime <= now())) {
      send.isUnderWay = true;
      this.#underWay.set(++this.#lastId, send);
      put(this.#lastId, { $case: "send", value: { requests: [send.request] } });
    }
    if (this.#isWelcomed && this.#hasFreshToken) {
      this.#hasFreshToken = false;
      put(QUIET_ID, { $case: "authenticate", value: { accessToken: this.#token } });
    }
    if (now() >= this.#staleTime) {
      this.#staleTime = Infinity;
      this.#refresh(this.#token).catch(() => {}); // the stream will end for it
    }
    // All is answered, and the server or the program wants to go.
    const isLeaving = this.#leaveTime !== undefined && this.#underWay.size === 0;
    const isDone = isLeaving || (this.#isClosing && this.#isLive && this.#outbox.size === 0);
    if (this.#isLive && this.#untold.size > 0 && (isDone || now() >= this.#ackTime())) {
      const acks = [...this.#untold].map((name) => ({ conversationId: name, seq: this.#acks.get(name) ?? 0n }));
      for (let i = 0; i < acks.length; i += ACK_POSITIONS) {
        put(QUIET_ID, { $case: "ack", value: { positions: acks.slice(i, i + ACK_POSITIONS) } });
      }
      this.#untold.clear();
      this.#ackCount = 0;
      this.#tellTime = now() + ACK_MS;
    }
    clearTimeout(this.#timer);
    if (isDone) {
      stream.end();
      return;
    }
    const dueTime = Math.min(this.#ackTime(), this.#staleTime, ...this.#listReady().map((send) => send.dueTime));
    if (dueTime !== Infinity) this.#timer = setTimeout(() => this.#write(), Math.max(1, dueTime - now()));
  }

  /** Sends that may go out when they are due: the first of each conversation. */
  #listReady(): Send[] {
    if (!this.#isWelcomed || this.#leaveTime !== undefined) return [];
    return [...this.#outbox.values()].flatMap(([first]) => (first && !first.isUnderWay ? [first] : []));
  }

  /** Once a second, and at once when half of the window waits; not before all resets are known. */
  #ackTime(): number {
    if (!this.#isLive || this.#untold.size === 0) return Infinity;
    return this.#ackCount < WINDOW_ENTRIES / 2 ? this.#tellTime : 0;
  }

  // What comes in.

  /** Takes a frame; gives an error when the hello was refused. */
  #receive(frame: parley.ChatResponse): Refused | undefined {
    for (const welcome of frame.welcomes) {
      this.#isWelcomed = true;
      this.#streamEpoch = welcome.epoch;
      this.#attempt = 0;
      this.#aheadMs = (welcome.serverTime?.getTime() ?? 0) - now();
      this.#noteLife(welcome.accessExpireTime);
    }
    for (const reset of frame.resets) this.#void(reset);
    if (frame.messages.length + frame.caughtUp.length > 0) {
      if (!this.#isLive) this.#untold = new Set(this.#acks.keys()); // all resets came; acks told before may be lost
      this.#isLive = true;
      this.#epoch = this.#streamEpoch; // not before: a stream that breaks between two resets brings all again
    }
    for (const message of frame.messages) {
      if (message.seq <= (this.#positions.get(message.conversationId) ?? 0n)) continue; // it came before
      this.#move(message.conversationId, message.seq);
      this.#inbox.push({ message });
    }
    for (const mark of frame.caughtUp) this.#move(mark.conversationId, mark.seq);
    for (const { correlationId, outcome } of frame.results) {
      if (outcome?.$case === "accepted") this.#settle(correlationId, outcome.value);
      else this.#settle(correlationId, Refused.from(parley.Status.create(outcome?.value)));
    }
    for (const { correlationId, error } of frame.errors) {
      const refused = Refused.from(parley.Status.create(error));
      if (correlationId === this.#helloId && !this.#isWelcomed) return refused;
      if (correlationId === this.#helloId) this.#forget(refused.conversationId);
      this.#settle(correlationId, refused);
    }
    for (const { reconnectDelay } of frame.goAways) this.#leaveTime = now() + toMs(reconnectDelay);
    this.#filled();
    this.#write();
    return undefined;
  }

  #move(conversationId: string, seq: bigint): void {
    if (conversationId === "") return;
    const before = this.#positions.get(conversationId) ?? 0n;
    this.#positions.delete(conversationId); // so that it is at the end
    this.#positions.set(conversationId, seq > before ? seq : before);
  }

  /** Takes the answer to a send; one to anything else changes nothing. */
  #settle(number: bigint, outcome: parley.Accepted | Refused): void {
    const send = this.#underWay.get(number);
    if (send === undefined) return;
    this.#underWay.delete(number);
    send.isUnderWay = false;
    if (outcome instanceof Refused && outcome.retryMs !== undefined) {
      send.dueTime = now() + pauseMs(send.attempt++, outcome.retryMs); // refused for now: it keeps its place
      return;
    }
    const rest = this.#outbox.get(send.request.conversationId)?.slice(1) ?? [];
    if (rest.length > 0) this.#outbox.set(send.request.conversationId, rest);
    else this.#outbox.delete(send.request.conversationId);
    if (outcome instanceof Refused) send.reject(outcome);
    else send.resolve(outcome);
  }

  /** What came above a seq is void: in one step, before anything newer is looked at. */
  #void(reset: parley.Reset): void {
    const { conversationId, seq } = reset;
    for (const seqs of [this.#positions, this.#taken, this.#acks]) {
      const found = seqs.get(conversationId);
      if (found !== undefined) seqs.set(conversationId, smaller(found, seq));
    }
    this.#inbox = this.#inbox.filter(({ message }) => message?.conversationId !== conversationId || message.seq <= seq);
    this.#inbox.push({ reset });
  }

  /** A position of the hello is of a conversation that the user is not in. */
  #forget(conversationId: string): void {
    if (this.#positions.has(conversationId) && this.#streamEpoch !== this.#epoch) {
      // It was made, or joined, after what was restored.
      this.#void(parley.Reset.create({ conversationId, epoch: this.#streamEpoch }));
    }
    for (const seqs of [this.#positions, this.#taken, this.#acks]) seqs.delete(conversationId);
    this.#untold.delete(conversationId);
  }
}
