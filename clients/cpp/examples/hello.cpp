// Sends three notes to itself through a session, and acknowledges them. Arguments: [host:port].

#include <iostream>
#include <string>
#include <vector>

#include "session.h"

namespace v1 = parley::v1;
using parley_session::Session;

namespace {

const std::string kMe = "hello-cpp";
const std::string kPassword = "correct horse battery staple";
const std::chrono::seconds kLimit{10};

grpc::Status Register(const std::string& target) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  auto parley = v1::ChatService::NewStub(
      grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments));
  v1::RegisterRequest account;
  account.set_username(kMe);
  account.set_password(kPassword);
  v1::RegisterResponse registered;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kLimit);
  grpc::Status status = parley->Register(&context, account, &registered);
  return status.error_code() == grpc::ALREADY_EXISTS ? grpc::Status::OK : status;
}

grpc::Status Run(const std::string& target) {
  grpc::Status status = Register(target);
  if (!status.ok()) return status;
  auto session = Session::Open(target, kMe, kPassword, "example", &status);
  if (!session) return status;
  int64_t last_seq = 0;
  for (const char* text : {"Hello, Parley!", "Is anybody there?", "Good night."}) {
    auto answer = session->Send(kMe + ":" + kMe, text).get();
    if (!answer.status.ok()) return answer.status;
    last_seq = answer.accepted.seq();
    std::cout << "stored as " << last_seq << "\n";
  }
  for (int64_t seq = 0; seq < last_seq;) {
    auto entry = session->Next(kLimit);
    if (!entry) return session->End().value_or(grpc::Status(grpc::DEADLINE_EXCEEDED, "nothing came"));
    if (auto* message = std::get_if<v1::Message>(&*entry)) {
      seq = message->seq();
      std::cout << "received " << seq << ": " << message->text() << "\n";
      session->Ack(message->conversation_id(), seq);
    }
  }
  session->Close();
  std::cout << "done\n";
  return grpc::Status::OK;
}

}  // namespace

int main(int argc, char** argv) {
  grpc::Status status = Run(argc > 1 ? argv[1] : "127.0.0.1:50051");
  if (status.ok()) return 0;
  std::cerr << "hello: " << status.error_message() << " (code " << status.error_code() << ")\n";
  return 1;
}
