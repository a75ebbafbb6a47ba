#include "sessions.h"

#include <chrono>
#include <stdexcept>
#include <variant>

#include "errors.h"

namespace v1 = parley::v1;
using parley_session::Answer;
using parley_session::Session;
using std::chrono::milliseconds;

namespace {

json Sent(std::future<Answer>& future, milliseconds limit) {
  if (future.wait_for(limit) != std::future_status::ready) return {{"nothing", true}};
  const Answer answer = future.get();
  if (!answer.status.ok()) return {{"error", Describe(answer.status)}};
  return {{"accepted", Print(answer.accepted)}};
}

json Next(Session& session, milliseconds limit) {
  const auto entry = session.Next(limit);
  if (!entry) {
    const auto end = session.End();
    return end ? json{{"end", Describe(*end)}} : json{{"nothing", true}};
  }
  if (const auto* message = std::get_if<v1::Message>(&*entry)) return {{"message", Print(*message)}};
  return {{"reset", Print(std::get<v1::Reset>(*entry))}};
}

}  // namespace

json Sessions::Open(const json& command) {
  grpc::Status refused;
  auto session = Session::Open(command.at("target"), command.at("username"), command.at("password"),
                               command.at("device_id"), &refused, grpc::InsecureChannelCredentials(),
                               milliseconds(command.at("heartbeat_ms")));
  if (!session) return {{"error", Describe(refused)}};
  driven_[command.at("session")] = {std::move(session), {}};
  return {{"opened", true}};
}

json Sessions::Run(const std::string& act, const json& command) {
  if (act == "session_open") return Open(command);
  Driven& driven = driven_.at(command.at("session"));
  if (act == "session_send") {
    driven.sends[command.at("ticket")] =
        driven.session->Send(command.at("conversation_id").get<std::string>(), command.at("text"));
    return {{"sending", true}};
  }
  if (act == "session_ack") {
    driven.session->Ack(command.at("conversation_id"), command.at("seq"));
    return {{"acked", true}};
  }
  const milliseconds limit(command.at("timeout_ms"));
  if (act == "session_sent") return Sent(driven.sends.at(command.at("ticket")), limit);
  if (act == "session_next") return Next(*driven.session, limit);
  if (act == "session_close") {
    driven.session->Close(limit);
    return {{"closed", true}};
  }
  throw std::invalid_argument("there is no command " + act);
}
