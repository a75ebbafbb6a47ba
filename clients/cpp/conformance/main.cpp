// The conformance runner for C++: reads commands, one JSON object a line, and answers each on one line. What it speaks
// is in conformance/README.md.

#include <google/protobuf/unknown_field_set.h>
#include <grpcpp/grpcpp.h>

#include <iostream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#include "calls.h"
#include "sessions.h"
#include "streams.h"

namespace v1 = parley::v1;

namespace {

class Runner {
 public:
  json Run(const json& command) {
    const std::string act = command.at("do");
    if (act == "call") return Call(StubFor(command), command);
    if (act == "page") return Page(StubFor(command), command);
    if (act == "measure") return Measure(StubFor(command), command);
    if (act.rfind("session_", 0) == 0) return sessions_.Run(act, command);
    if (act == "open") {
      streams_[command.at("stream")] = std::make_unique<Stream>(StubFor(command), command);
      return {{"opened", true}};
    }
    Stream& stream = *streams_.at(command.at("stream"));
    if (act == "read") return stream.Read(std::chrono::milliseconds(command.at("timeout_ms")));
    if (act == "write") {
      v1::ChatRequest frame;
      Parse(command.at("frame"), &frame);
      return {{"written", stream.Write(frame)}};
    }
    if (act == "write_newer") return {{"written", stream.Write(Newer(command.at("correlation_id")))}};
    if (act == "close") {
      stream.Close();
      return {{"closed", true}};
    }
    if (act == "cancel") {
      stream.Cancel();
      return {{"cancelled", true}};
    }
    throw std::invalid_argument("there is no command " + act);
  }

 private:
  // A frame of a newer contract: protobuf keeps and writes fields that it does not know.
  static v1::ChatRequest Newer(int64_t correlation_id) {
    v1::ChatRequest frame;
    frame.set_correlation_id(correlation_id);
    frame.GetReflection()->MutableUnknownFields(&frame)->AddLengthDelimited(1000, "newer");
    return frame;
  }

  Stub& StubFor(const json& command) {
    const std::string target = command.at("target");
    auto& stub = stubs_[target];
    if (!stub) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
      arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
      arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
      stub = v1::ChatService::NewStub(grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments));
    }
    return *stub;
  }

  std::map<std::string, std::unique_ptr<Stub>> stubs_;
  std::map<std::string, std::unique_ptr<Stream>> streams_;
  Sessions sessions_;
};

void Answer(const json& answer) {
  std::cout << answer.dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
}

}  // namespace

int main() {
  Answer({{"runner", "cpp"},
          {"version", PARLEY_VERSION},
          {"runtime", "grpc++ " + grpc::Version() + ", protobuf " + std::to_string(GOOGLE_PROTOBUF_VERSION)}});
  Runner runner;
  for (std::string line; std::getline(std::cin, line);) {
    try {
      Answer(runner.Run(json::parse(line)));
    } catch (const std::exception& error) {
      Answer({{"failed", error.what()}});
    }
  }
}
