/** The runner on the TypeScript stubs; ../../../conformance/README.md says what it must do. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { call, page } from "./calls.js";
import type { Answer, Command } from "./commands.js";
import { measure } from "./measure.js";
import { drive } from "./sessions.js";
import { Stream } from "./streams.js";

const streams = new Map<string, Stream>();

async function answer(command: Command): Promise<Answer> {
  if (command.do.startsWith("session_")) return drive(command);
  switch (command.do) {
    case "call":
      return call(command);
    case "page":
      return page(command);
    case "measure":
      return measure(command);
    case "open":
      streams.set(command.stream, new Stream(command));
      return { opened: true };
  }
  const stream = streams.get(command.stream);
  if (stream === undefined) throw new Error(`nothing to ${command.do}: no stream ${command.stream}`);
  switch (command.do) {
    case "write":
      return stream.write(command.frame);
    case "write_newer":
      return stream.writeNewer(command.correlation_id);
    case "read":
      return stream.read(command.timeout_ms);
    case "close":
      return stream.close();
    case "cancel":
      return stream.cancel();
  }
  throw new Error(`there is no ${command.do}`);
}

/** The lines of standard input. (`readline` would split at U+2028, too.) */
async function* lines(): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of process.stdin.setEncoding("utf8")) {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
}

function say(line: Answer): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** The version of an installed package, or of this one. */
function versionOf(name: string): string {
  const manifest = createRequire(import.meta.url).resolve(`${name}/package.json`);
  return JSON.parse(readFileSync(manifest, "utf8")).version;
}

const runtime = `Node.js ${process.versions.node}, grpc-js ${versionOf("@grpc/grpc-js")}`;
say({ runner: "typescript", version: versionOf("parley-client"), runtime });
for await (const line of lines()) {
  try {
    say(await answer(JSON.parse(line)));
  } catch (error) {
    say({ failed: String(error) });
  }
}
process.exit(); // streams may still be open
