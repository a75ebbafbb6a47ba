#include "streams.h"

#include <stdexcept>
#include <string>
#include <utility>

#include "errors.h"

namespace v1 = parley::v1;

Stream::Stream(Stub& stub, const json& command) {
  Authorize(command, &context_);
  if (command["method"] == "Chat") {
    thread_ = std::thread([this, &stub] { RunChat(stub); });
  } else {
    v1::SubscribeRequest request;
    Parse(command.value("request", json::object()), &request);
    thread_ = std::thread([this, &stub, request] { RunSubscribe(stub, request); });
  }
}

Stream::~Stream() {
  context_.TryCancel();
  thread_.join();
}

bool Stream::Write(const v1::ChatRequest& frame) {
  std::unique_lock lock(write_mutex_);
  opened_.wait(lock, [this] { return chat_ || is_over_; });
  return !is_over_ && chat_->Write(frame);
}

void Stream::Close() {
  std::unique_lock lock(write_mutex_);
  opened_.wait(lock, [this] { return chat_ || is_over_; });
  if (!is_over_) chat_->WritesDone();
}

json Stream::Read(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, limit, [this] { return end_ || (!is_cancelled_ && !frames_.empty()); });
  if (!is_cancelled_ && !frames_.empty()) {
    v1::ChatResponse frame = std::move(frames_.front());
    frames_.pop_front();
    return {{"frame", Print(frame)}};
  }
  if (end_) return {{"end", Describe(*end_)}};
  return {{"nothing", true}};
}

void Stream::Cancel() {
  {
    std::lock_guard lock(mutex_);
    is_cancelled_ = !end_;  // what came and was not read is of no interest any more
  }
  context_.TryCancel();
}

void Stream::RunChat(Stub& stub) {
  auto chat = stub.Chat(&context_);  // waits for the connection
  Chat& opened = *chat;
  {
    std::lock_guard lock(write_mutex_);
    chat_ = std::move(chat);
  }
  opened_.notify_all();
  ReadAll(opened);
}

void Stream::RunSubscribe(Stub& stub, const v1::SubscribeRequest& request) {
  auto subscription = stub.Subscribe(&context_, request);
  ReadAll(*subscription);
}

template <typename Reader>
void Stream::ReadAll(Reader& reader) {
  v1::ChatResponse frame;
  while (reader.Read(&frame)) {
    std::lock_guard lock(mutex_);
    frames_.push_back(std::move(frame));
    changed_.notify_all();
  }
  {
    std::lock_guard lock(write_mutex_);
    is_over_ = true;
  }
  opened_.notify_all();
  grpc::Status status = reader.Finish();
  std::lock_guard lock(mutex_);
  end_ = std::move(status);
  changed_.notify_all();
}
