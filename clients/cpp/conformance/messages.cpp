#include "messages.h"

#include <google/protobuf/util/json_util.h>

#include <stdexcept>
#include <string>

void Parse(const json& value, google::protobuf::Message* message) {
  auto status = google::protobuf::util::JsonStringToMessage(value.dump(), message);
  if (!status.ok()) throw std::invalid_argument(status.ToString());
}

json Print(const google::protobuf::Message& message) {
  std::string text;
  auto status = google::protobuf::util::MessageToJsonString(message, &text);
  if (!status.ok()) throw std::invalid_argument(status.ToString());
  return json::parse(text);
}
