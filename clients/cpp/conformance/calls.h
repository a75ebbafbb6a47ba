// The commands that are calls: unary ones by the name of their method, a log page by page, and the measurement.
#pragma once

#include "messages.h"
#include "parley/v1/chat_service.grpc.pb.h"

using Stub = parley::v1::ChatService::Stub;

// Puts the command's token into the metadata.
void Authorize(const json& command, grpc::ClientContext* context);

json Call(Stub& stub, const json& command);
json Page(Stub& stub, const json& command);
json Measure(Stub& stub, const json& command);
