/** The client of Parley: all stubs of `parley.v1`, and what the details of its errors are read with. */
export * from "./gen/parley/v1/account.js";
export * from "./gen/parley/v1/chat.js";
export * from "./gen/parley/v1/chat_service.js";
export * from "./gen/parley/v1/conversation.js";
export * from "./gen/parley/v1/dead_letter.js";
export * from "./gen/parley/v1/error.js";
export * from "./gen/parley/v1/message.js";
export * from "./gen/parley/v1/presence.js";
export * from "./gen/parley/v1/server_info.js";
export { BadRequest, ErrorInfo, RetryInfo } from "./gen/google/rpc/error_details.js";
export { Status } from "./gen/google/rpc/status.js";
