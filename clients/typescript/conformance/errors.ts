/** How a refused call looks in Node.js. */
import { type ServiceError, status } from "@grpc/grpc-js";
import { BadRequest, ErrorInfo, RetryInfo, Status } from "parley-client";
import type { Answer } from "./commands.js";

export function describe(error: ServiceError): Answer {
  const answer: Answer = { code: status[error.code], message: error.details, log: String(error) };
  const [trailer] = error.metadata?.get("grpc-status-details-bin") ?? [];
  if (!Buffer.isBuffer(trailer)) return answer;
  for (const { typeUrl, value } of Status.decode(trailer).details) {
    switch (typeUrl.split("/").at(-1)) {
      case "google.rpc.ErrorInfo": {
        const { domain, reason, metadata } = ErrorInfo.decode(value);
        if (domain === "parley.v1") Object.assign(answer, { reason, metadata });
        break;
      }
      case "google.rpc.BadRequest":
        answer.fields = BadRequest.decode(value).fieldViolations.map((violation) => violation.field);
        break;
      case "google.rpc.RetryInfo": {
        const { seconds, nanos } = RetryInfo.decode(value).retryDelay ?? { seconds: 0n, nanos: 0 };
        answer.retry_delay_ms = Number(seconds) * 1000 + Math.round(nanos / 1e6);
        break;
      }
    }
  }
  return answer;
}
