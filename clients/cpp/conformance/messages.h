// Messages from and to proto3's JSON form, as protobuf reads and writes it.
#pragma once

#include <google/protobuf/message.h>

#include <nlohmann/json.hpp>

using nlohmann::json;

// Throws std::invalid_argument for what is not the JSON form of this type.
void Parse(const json& value, google::protobuf::Message* message);

json Print(const google::protobuf::Message& message);
