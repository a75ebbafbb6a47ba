// Registers or logs in, sends, chats with resume after a broken stream, and acknowledges. Arguments: [host:port].

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "parley/v1/chat_service.grpc.pb.h"

namespace v1 = parley::v1;

namespace {

const std::string kMe = "hello-cpp";
const std::string kToMyself = "hello-cpp:hello-cpp";

// What outlives a stream.
struct Session {
  std::vector<v1::SendRequest> unanswered;   // sent again with the same request_id, so that each takes effect once
  std::map<std::string, int64_t> positions;  // the highest seq that came, of each conversation
  int64_t last_seq = 0;                      // of the last message that was accepted

  bool IsDone() { return unanswered.empty() && positions[kToMyself] >= last_seq; }
};

v1::SendRequest Note(const std::string& text) {
  std::random_device random;
  std::string request_id;
  for (int i = 0; i < 4; ++i) request_id += std::to_string(random()) + ".";
  v1::SendRequest request;
  request.set_conversation_id(kToMyself);
  request.set_text(text);
  request.set_request_id(request_id);
  return request;
}

void Authorize(const std::string& token, grpc::ClientContext* context) {
  context->AddMetadata("authorization", "Bearer " + token);
}

template <typename Detail>
bool Has(const google::rpc::Status& status) {
  return std::any_of(status.details().begin(), status.details().end(),
                     [](auto& any) { return any.template Is<Detail>(); });
}

// What was refused on a stream, as a status of its own.
grpc::Status ToStatus(const google::rpc::Status& error) {
  return grpc::Status(static_cast<grpc::StatusCode>(error.code()), error.message(), error.SerializeAsString());
}

// Whether to come back after this error.
bool IsPassing(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::ABORTED:
      return true;
    default:
      break;
  }
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  return Has<google::rpc::RetryInfo>(details);
}

grpc::Status LogIn(v1::ChatService::Stub& parley, std::string* token) {
  v1::RegisterRequest me;
  me.set_username(kMe);
  me.set_password("correct horse battery staple");
  v1::RegisterResponse registered;
  grpc::ClientContext context;
  grpc::Status status = parley.Register(&context, me, &registered);
  *token = registered.access_token();
  if (status.error_code() != grpc::StatusCode::ALREADY_EXISTS) return status;
  v1::LoginRequest login;
  login.set_username(me.username());
  login.set_password(me.password());
  v1::LoginResponse logged_in;
  grpc::ClientContext again;
  status = parley.Login(&again, login, &logged_in);
  *token = logged_in.access_token();
  return status;
}

// Takes what became of a send. Gives an error when it is to be sent again.
grpc::Status Settle(const v1::SendRequest& request, const v1::SendResult& result, Session* session) {
  if (result.has_accepted()) {
    std::cout << "stored as " << result.accepted().seq() << (result.accepted().deduplicated() ? ", as before\n" : "\n");
    session->last_seq = result.accepted().seq();
  } else if (Has<google::rpc::RetryInfo>(result.error())) {
    return ToStatus(result.error());
  } else {
    std::cout << "refused: " << result.error().message() << "\n";
  }
  auto& unanswered = session->unanswered;
  unanswered.erase(std::remove_if(unanswered.begin(), unanswered.end(),
                                  [&](auto& other) { return other.request_id() == request.request_id(); }),
                   unanswered.end());
  return grpc::Status::OK;
}

// Deals with a frame, and writes the acks while our half is open. Gives an error when the stream is to be left.
template <typename Stream>
grpc::Status Take(const v1::ChatResponse& frame, const v1::SendFrame& sent, bool cut, bool is_closed, Stream& stream,
                  Session* session) {
  if (frame.errors_size()) return ToStatus(frame.errors(0).error());
  for (const auto& result : frame.results()) {
    grpc::Status status = Settle(sent.requests(result.index()), result, session);
    if (!status.ok()) return status;
  }
  v1::ChatRequest request;
  for (const auto& message : frame.messages()) {
    int64_t& position = session->positions[message.conversation_id()];
    if (message.seq() <= position) continue;  // it came before
    if (cut) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "cut off, to show how it resumes");
    std::cout << message.seq() << " from " << message.sender() << ": " << message.text() << "\n";
    position = message.seq();
    auto* ack = request.mutable_ack()->add_positions();
    ack->set_conversation_id(message.conversation_id());
    ack->set_seq(message.seq());
  }
  if (request.has_ack() && !is_closed) stream.Write(request);
  return grpc::Status::OK;
}

// One stream, until all is answered and acknowledged; with `cut` it breaks off in the middle.
grpc::Status Chat(v1::ChatService::Stub& parley, const std::string& token, bool cut, Session* session) {
  grpc::ClientContext context;
  Authorize(token, &context);
  auto stream = parley.Chat(&context);
  v1::ChatRequest hello;
  hello.set_correlation_id(1);
  hello.mutable_hello()->set_device_id(kMe);  // the same each time: what it did not acknowledge comes again
  stream->Write(hello);                       // a write fails when the stream has ended; Finish says why
  v1::ChatRequest send;
  send.set_correlation_id(2);
  for (const auto& request : session->unanswered) *send.mutable_send()->add_requests() = request;
  if (send.has_send()) stream->Write(send);
  bool is_closed = false;
  for (v1::ChatResponse frame; stream->Read(&frame);) {
    grpc::Status status = Take(frame, send.send(), cut, is_closed, *stream, session);
    if (!status.ok()) {
      context.TryCancel();
      stream->Finish();
      return status;
    }
    if (session->IsDone() && !is_closed) {
      is_closed = stream->WritesDone();  // our half of the stream ends; the server finishes, and ends its half
    }
  }
  grpc::Status status = stream->Finish();
  if (status.ok() && !is_closed) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server ended the stream");
  return status;
}

grpc::Status Run(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  auto parley = v1::ChatService::NewStub(channel);
  std::string token;
  grpc::Status status = LogIn(*parley, &token);
  if (!status.ok()) return status;

  const v1::SendRequest request = Note("Sent by a call");
  for (int attempt = 0; attempt < 2; ++attempt) {
    v1::SendResponse sent;
    grpc::ClientContext context;
    Authorize(token, &context);
    status = parley->Send(&context, request, &sent);
    if (!status.ok()) return status;
    std::cout << "stored as " << sent.message().seq() << (sent.deduplicated() ? ", as before\n" : "\n");
  }

  Session session{{Note("Sent by the stream"), Note("This one, too")}, {}};
  std::chrono::milliseconds pause{500};
  for (bool cut = true; !(status = Chat(*parley, token, cut, &session)).ok(); cut = false) {
    if (!IsPassing(status)) return status;
    // At random, so that not all come back at once.
    const std::chrono::milliseconds wait{std::random_device{}() % pause.count()};
    std::cout << "the stream broke: " << status.error_message() << "; again in " << wait.count() << " ms\n";
    std::this_thread::sleep_for(wait);
    pause = std::min(pause * 2, std::chrono::milliseconds(15'000));
  }
  std::cout << "done\n";
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  grpc::Status status = Run(argc > 1 ? argv[1] : "127.0.0.1:50051");
  if (status.ok()) return 0;
  std::cerr << "hello: " << status.error_message() << " (code " << status.error_code() << ")\n";
  return 1;
}
