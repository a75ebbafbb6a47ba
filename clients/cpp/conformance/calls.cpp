#include "calls.h"

#include <chrono>
#include <functional>
#include <future>
#include <map>
#include <stdexcept>
#include <string>

#include "errors.h"

namespace v1 = parley::v1;

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;

// Without a deadline of the command's, so that the runner never hangs.
constexpr int kDeadlineMs = 30'000;

template <typename Request, typename Response>
using Method = grpc::Status (Stub::*)(grpc::ClientContext*, const Request&, Response*);

template <typename Request, typename Response>
json Unary(Stub& stub, const json& command, Method<Request, Response> method) {
  Request request;
  Response response;
  Parse(command.value("request", json::object()), &request);
  grpc::ClientContext context;
  Authorize(command, &context);
  context.set_deadline(system_clock::now() + milliseconds(command.value("deadline_ms", kDeadlineMs)));
  std::promise<void> done;
  std::future<void> canceller;
  if (command.contains("cancel_after_ms")) {
    canceller = std::async(std::launch::async, [&, delay = milliseconds(command["cancel_after_ms"])] {
      if (done.get_future().wait_for(delay) == std::future_status::timeout) context.TryCancel();
    });
  }
  grpc::Status status = (stub.*method)(&context, request, &response);
  done.set_value();
  if (canceller.valid()) canceller.wait();
  if (!status.ok()) return {{"error", Describe(status)}};
  return {{"response", Print(response)}};
}

using Caller = std::function<json(Stub&, const json&)>;

template <typename Request, typename Response>
Caller With(Method<Request, Response> method) {
  return [method](Stub& stub, const json& command) { return Unary(stub, command, method); };
}

const std::map<std::string, Caller> kMethods = {
    {"GetServerInfo", With(&Stub::GetServerInfo)},
    {"Register", With(&Stub::Register)},
    {"Login", With(&Stub::Login)},
    {"RefreshToken", With(&Stub::RefreshToken)},
    {"Logout", With(&Stub::Logout)},
    {"GetUser", With(&Stub::GetUser)},
    {"UpdateUser", With(&Stub::UpdateUser)},
    {"ChangePassword", With(&Stub::ChangePassword)},
    {"DeleteAccount", With(&Stub::DeleteAccount)},
    {"CreateConversation", With(&Stub::CreateConversation)},
    {"GetConversation", With(&Stub::GetConversation)},
    {"ListConversations", With(&Stub::ListConversations)},
    {"UpdateConversation", With(&Stub::UpdateConversation)},
    {"DeleteConversation", With(&Stub::DeleteConversation)},
    {"AddMembers", With(&Stub::AddMembers)},
    {"RemoveMembers", With(&Stub::RemoveMembers)},
    {"UpdateMember", With(&Stub::UpdateMember)},
    {"ListMembers", With(&Stub::ListMembers)},
    {"MarkRead", With(&Stub::MarkRead)},
    {"Send", With(&Stub::Send)},
    {"BatchSend", With(&Stub::BatchSend)},
    {"Pull", With(&Stub::Pull)},
    {"Ack", With(&Stub::Ack)},
    {"ListDeadLetters", With(&Stub::ListDeadLetters)},
    {"RedriveDeadLetters", With(&Stub::RedriveDeadLetters)},
    {"DeleteDeadLetters", With(&Stub::DeleteDeadLetters)},
    {"GetPresence", With(&Stub::GetPresence)},
};

}  // namespace

void Authorize(const json& command, grpc::ClientContext* context) {
  if (!command.contains("token")) return;
  context->AddMetadata("authorization", "Bearer " + command["token"].get<std::string>());
}

json Call(Stub& stub, const json& command) {
  const std::string method = command.at("method");
  auto found = kMethods.find(method);
  if (found == kMethods.end()) throw std::invalid_argument("there is no unary method " + method);
  return found->second(stub, command);
}

json Page(Stub& stub, const json& command) {
  v1::PullRequest request;
  Parse(command["request"], &request);
  json seqs = json::array();
  while (true) {
    grpc::ClientContext context;
    Authorize(command, &context);
    context.set_deadline(system_clock::now() + milliseconds(kDeadlineMs));
    v1::PullResponse page;
    grpc::Status status = stub.Pull(&context, request, &page);
    if (!status.ok()) return {{"error", Describe(status)}};
    for (const auto& message : page.messages()) seqs.push_back(std::to_string(message.seq()));
    if (!page.has_more()) return {{"seqs", seqs}, {"next_cursor", std::to_string(page.next_cursor())}};
    request.set_cursor(page.next_cursor());
  }
}

json Measure(Stub& stub, const json& command) {
  const int count = command["count"];
  const int outstanding = command["outstanding"];
  grpc::ClientContext context;
  Authorize(command, &context);
  auto chat = stub.Chat(&context);
  v1::ChatRequest hello;
  hello.mutable_hello()->set_start(v1::START_LATEST);
  hello.mutable_hello()->set_no_echo(true);
  chat->Write(hello);
  v1::ChatResponse frame;
  auto read = [&] {
    if (!chat->Read(&frame)) throw std::runtime_error("the stream ended: " + chat->Finish().error_message());
    if (frame.errors_size()) throw std::runtime_error("a frame was refused: " + frame.errors(0).ShortDebugString());
  };
  do read();
  while (!frame.welcomes_size());

  v1::ChatRequest request;
  auto* send = request.mutable_send()->add_requests();
  send->set_conversation_id(command["conversation_id"]);
  send->set_text(std::string(100, 'x'));
  const auto begin = steady_clock::now();
  int written = 0, answered = 0, accepted = 0;
  while (answered < count) {
    for (; written < count && written - answered < outstanding; ++written) {
      request.set_correlation_id(written + 1);
      chat->Write(request);
    }
    read();
    answered += frame.results_size();
    for (const auto& result : frame.results()) accepted += result.has_accepted();
  }
  const std::chrono::duration<double> took = steady_clock::now() - begin;
  chat->WritesDone();
  while (chat->Read(&frame)) continue;
  chat->Finish();
  return {{"seconds", took.count()}, {"accepted", accepted}};
}
