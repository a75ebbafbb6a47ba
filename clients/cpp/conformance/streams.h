// An open Chat or Subscribe: frames out, frames in, and its end.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "calls.h"

// A thread opens the stream and reads it, so that `open` does not wait for the server and a read that times out loses
// nothing.
class Stream {
 public:
  Stream(Stub& stub, const json& command);
  ~Stream();

  // Whether the stream still took the frame.
  bool Write(const parley::v1::ChatRequest& frame);
  json Read(std::chrono::milliseconds limit);
  void Close();
  void Cancel();

 private:
  using Chat = grpc::ClientReaderWriter<parley::v1::ChatRequest, parley::v1::ChatResponse>;

  void RunChat(Stub& stub);
  void RunSubscribe(Stub& stub, const parley::v1::SubscribeRequest& request);
  template <typename Reader>
  void ReadAll(Reader& reader);

  grpc::ClientContext context_;
  std::mutex mutex_;  // guards what comes
  std::condition_variable changed_;
  std::deque<parley::v1::ChatResponse> frames_;
  std::optional<grpc::Status> end_;
  bool is_cancelled_ = false;
  std::mutex write_mutex_;  // guards what goes; gRPC wants no write after Finish
  std::condition_variable opened_;
  std::unique_ptr<Chat> chat_;
  bool is_over_ = false;
  std::thread thread_;  // last: it uses all others
};
