// A device's session with Parley that outlives its connections: one file to copy, on the stubs alone. Thread-safe.
// docs/clients.md has the rules. A thread of its own opens one stream after the other and writes; gRPC's threads read.
#pragma once

#include <google/protobuf/util/time_util.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <regex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "parley/v1/chat_service.grpc.pb.h"

namespace parley_session {

namespace v1 = parley::v1;
using google::protobuf::util::TimeUtil;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;
using Seqs = std::map<std::string, int64_t>;

constexpr milliseconds kFirstPause{500}, kLastPause{15'000}, kAckPause{1'000}, kCallLimit{10'000};
constexpr Time kNever = Time::max();
constexpr size_t kMaxUnanswered = 1'000;           // sends without a final answer; one more is refused
constexpr size_t kWindow = 1'000;                  // entries that are not acknowledged; what is beyond waits
constexpr size_t kMaxSendBytes = 256 * 1024 - 64;  // a frame above 256 KiB ends its stream
constexpr size_t kMaxHelloPositions = 2'000, kMaxAckPositions = 1'000;
constexpr int64_t kQuiet = 1;  // the correlation_id of frames whose refusal changes nothing here: acks and tokens

// A message; or a reset: the server was set back, and what came of that conversation above its seq is void.
using Entry = std::variant<v1::Message, v1::Reset>;

// Where a message is stored; or why it had no effect and never will, or that the session has ended.
struct Answer {
  grpc::Status status;
  v1::Accepted accepted;
};

// The detail of this type, if the status has it.
template <typename Detail>
std::optional<Detail> FindDetail(const grpc::Status& status) {
  google::rpc::Status details;
  Detail found;
  if (!details.ParseFromString(status.error_details())) return std::nullopt;
  for (const auto& detail : details.details()) {
    if (detail.UnpackTo(&found)) return found;
  }
  return std::nullopt;
}

inline grpc::Status ToStatus(const google::rpc::Status& error) {
  return grpc::Status(static_cast<grpc::StatusCode>(error.code()), error.message(), error.SerializeAsString());
}

// Looks like the server's own refusals.
inline grpc::Status Refusal(grpc::StatusCode code, const std::string& reason, const std::string& message) {
  google::rpc::ErrorInfo info;
  info.set_domain("parley.v1");
  info.set_reason(reason);
  google::rpc::Status error;
  error.set_code(code);
  error.set_message(message);
  error.add_details()->PackFrom(info);
  return ToStatus(error);
}

// Whether the same call, or another stream, may do better. Without an ErrorInfo most of these codes are a proxy's, or
// the connection's; FAILED_PRECONDITION is a hello that came too late.
inline bool IsPassing(const grpc::Status& end) {
  static const std::set<grpc::StatusCode> codes = {
      grpc::OK,      grpc::UNAVAILABLE,       grpc::INTERNAL,  grpc::UNKNOWN,            grpc::CANCELLED,
      grpc::ABORTED, grpc::DEADLINE_EXCEEDED, grpc::DATA_LOSS, grpc::FAILED_PRECONDITION};
  return codes.count(end.error_code()) || FindDetail<google::rpc::RetryInfo>(end);
}

inline std::string RandomId() {
  std::random_device random;
  std::string id;
  for (int i = 0; i < 4; ++i) id += (i ? "-" : "") + std::to_string(random());
  return id;
}

// Growing pauses, all of them random: those who lost a server together do not come back together.
class Pause {
 public:
  milliseconds Next(const grpc::Status& end) {
    const auto retry = FindDetail<google::rpc::RetryInfo>(end);
    const milliseconds at_least{retry ? TimeUtil::DurationToMilliseconds(retry->retry_delay()) : 0};
    const milliseconds random{std::random_device{}() % (limit_.count() + 1)};
    limit_ = std::min(2 * limit_, kLastPause);
    return at_least + random;
  }

 private:
  milliseconds limit_ = kFirstPause;
};

class Session {
 public:
  // Logs in, and keeps a stream open until Close. Waits for a server that is away; gives nothing, and the status,
  // where the login is refused for good. `target` is host:port. `device_id` is the same for the same device each time:
  // acks are kept by it. The server says each `heartbeat`, 1 s to 10 min, that it is there; silence of three times that
  // is a break.
  static std::unique_ptr<Session> Open(const std::string& target, const std::string& username,
                                       const std::string& password, const std::string& device_id, grpc::Status* status,
                                       std::shared_ptr<grpc::ChannelCredentials> credentials =
                                           grpc::InsecureChannelCredentials(),
                                       milliseconds heartbeat = milliseconds(10'000)) {
    std::unique_ptr<Session> session(new Session(target, device_id, std::move(credentials), heartbeat));
    v1::LoginRequest request;
    request.set_username(username);
    request.set_password(password);
    request.set_device_id(device_id);
    v1::LoginResponse login;
    *status = session->Call(&v1::ChatService::Stub::Login, request, &login);
    if (!status->ok()) return nullptr;
    session->TakeTokens(login);
    session->thread_ = std::thread([session = session.get()] { session->Run(); });
    return session;
  }

  // Ends at once.
  ~Session() { Close(milliseconds(0)); }

  // Sends a message: now, or as soon as there is a stream; those to one conversation keep their order.
  std::future<Answer> Send(const std::string& conversation_id, const std::string& text) {
    v1::SendRequest request;
    request.set_conversation_id(conversation_id);
    request.set_text(text);
    return Send(std::move(request));
  }

  // The same, for the other fields of SendRequest; with a request_id that the program keeps.
  std::future<Answer> Send(v1::SendRequest request) {
    if (request.request_id().empty()) request.set_request_id(RandomId());  // of all attempts
    std::promise<Answer> promise;
    auto answer = promise.get_future();
    std::lock_guard lock(mutex_);
    size_t waiting = 0;
    for (const auto& [id, line] : outbox_) waiting += line.sends.size();
    if (end_ || is_closing_) {
      promise.set_value({end_.value_or(Closed()), {}});
    } else if (request.ByteSizeLong() > kMaxSendBytes) {
      promise.set_value({Refusal(grpc::INVALID_ARGUMENT, "MESSAGE_TOO_LARGE", "a frame has at most 256 KiB"), {}});
    } else if (waiting >= kMaxUnanswered) {
      promise.set_value({Refusal(grpc::RESOURCE_EXHAUSTED, "OUTBOX_FULL", "1,000 sends wait for an answer"), {}});
    } else {
      outbox_[request.conversation_id()].sends.emplace_back(request, std::move(promise));
      changed_.notify_all();
    }
    return answer;
  }

  // The next message or reset, each once and in order, for one reader at a time. Nothing when none came within the
  // limit, or when the session has ended.
  std::optional<Entry> Next(milliseconds limit) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, limit, [this] { return !inbox_.empty() || end_; });
    if (inbox_.empty()) return std::nullopt;
    Entry entry = std::move(inbox_.front());
    inbox_.pop_front();
    if (const auto* message = std::get_if<v1::Message>(&entry)) taken_[message->conversation_id()] = message->seq();
    return entry;
  }

  // Why Next gives nothing any more: OK after Close, UNAUTHENTICATED when the login has ended. Nothing while it goes on.
  std::optional<grpc::Status> End() {
    std::lock_guard lock(mutex_);
    if (!end_ || !inbox_.empty()) return std::nullopt;
    return is_closing_ ? grpc::Status::OK : *end_;
  }

  // Says that all up to `seq` that Next gave is dealt with: it never comes to this device again.
  void Ack(const std::string& conversation_id, int64_t seq) {
    std::lock_guard lock(mutex_);
    seq = std::min(seq, taken_[conversation_id]);
    int64_t& acked = acks_[conversation_id];
    if (seq <= acked) return;
    ack_count_ += seq - acked;
    acked = seq;
    untold_.insert(conversation_id);
    changed_.notify_all();
  }

  // Waits for the answers to all sends, tells the last acks and ends the stream; at once after the limit.
  void Close(milliseconds limit = milliseconds(10'000)) {
    {
      std::unique_lock lock(mutex_);
      is_closing_ = true;
      changed_.notify_all();
      changed_.wait_for(lock, limit, [this] { return end_.has_value(); });
      Finish(Closed());
    }
    if (thread_.joinable()) thread_.join();
    if (renewer_.joinable()) renewer_.join();
  }

 private:
  using Stub = v1::ChatService::Stub;

  // The sends of a conversation, in order. The first may be under way; the others wait for its answer.
  struct Line {
    std::deque<std::pair<v1::SendRequest, std::promise<Answer>>> sends;
    bool is_under_way = false;
    Time due{};
    Pause pause;
  };

  // One stream, as gRPC sees it. All but its calls to gRPC is guarded by the session's lock.
  struct Stream : grpc::ClientBidiReactor<v1::ChatRequest, v1::ChatResponse> {
    explicit Stream(Session* session) : session(session) {}

    void OnReadDone(bool ok) override {
      {
        std::lock_guard lock(session->mutex_);
        is_over |= !ok;
        if (!is_over) session->Receive(frame, this);
        session->changed_.notify_all();
      }
      if (ok) StartRead(&frame);
    }

    void OnWriteDone(bool) override {
      std::lock_guard lock(session->mutex_);
      is_writing = false;
      session->changed_.notify_all();
    }

    void OnDone(const grpc::Status& status) override {
      std::lock_guard lock(session->mutex_);
      if (!end) end = status;
      is_done = true;
      session->changed_.notify_all();
    }

    Session* session;
    grpc::ClientContext context;
    v1::ChatResponse frame;
    v1::ChatRequest written;
    std::deque<v1::ChatRequest> frames;  // to be written after that one
    std::optional<grpc::Status> end;     // why it was given up, or how it ended
    bool is_writing = false, is_over = false, is_done = false;
    bool is_welcomed = false, is_live = false, is_half_closed = false;  // live: all resets are known
    int64_t hello_id = 0, epoch = 0;
    std::string told_token;
    Time leave_at = kNever, tell_at = kNever, silent_at = kNever;
    std::map<int64_t, std::string> under_way;  // correlation_id -> conversation_id
    std::set<std::string> resets;
  };

  Session(std::string target, std::string device_id, std::shared_ptr<grpc::ChannelCredentials> credentials,
          milliseconds heartbeat)
      : target_(std::move(target)),
        device_id_(std::move(device_id)),
        credentials_(std::move(credentials)),
        heartbeat_(heartbeat) {}

  static grpc::Status Closed() { return grpc::Status(grpc::CANCELLED, "the session is closed"); }

  // Under the lock.
  void Finish(const grpc::Status& why) {
    if (!end_) {
      end_ = why;
      for (auto& [id, line] : outbox_) {
        for (auto& [request, promise] : line.sends) promise.set_value({why, {}});
      }
      outbox_.clear();
      for (grpc::ClientContext* call : calls_) call->TryCancel();
    }
    changed_.notify_all();
  }

  // The streams, one after the other.

  void Run() {
    grpc::Status why = KeepStream();
    std::lock_guard lock(mutex_);
    Finish(why);
  }

  // Gives why there will be no other stream.
  grpc::Status KeepStream() {
    Pause pause;
    while (true) {
      Stream stream(this);
      Follow(Token(), &stream);
      const grpc::Status& end = *stream.end;
      if (IsSettled(end)) return Closed();
      if (stream.is_welcomed) pause = Pause();
      const bool is_expired = end.error_code() == grpc::UNAUTHENTICATED;
      if (!is_expired && !IsPassing(end)) return end;  // the next stream would meet the same
      Time until = Clock::now();
      if (stream.leave_at != kNever) {
        until = stream.leave_at;
      } else if (!is_expired || !stream.is_welcomed) {
        until += pause.Next(end);
      }
      if (!Rest(until)) return Closed();
      if (!is_expired) continue;
      // After the pause, in which a short token ends, also one that was renewed since the stream began.
      grpc::Status renewed = Refresh(Token());
      if (!renewed.ok()) return renewed;
    }
  }

  // Whether the program closes the session, and with this end all is answered and told.
  bool IsSettled(const grpc::Status& end) {
    std::lock_guard lock(mutex_);
    const bool is_told = acks_.empty() || (untold_.empty() && end.ok());
    for (const auto& [id, seq] : acks_) untold_.insert(id);  // those of the stream may be lost
    return is_closing_ && outbox_.empty() && is_told;
  }

  // Waits; false when the session ends.
  bool Rest(Time until) {
    std::unique_lock lock(mutex_);
    return !changed_.wait_until(lock, until, [this] { return end_.has_value(); });
  }

  // A channel for each stream and call: none meets a connection that hangs.
  std::unique_ptr<Stub> Connect() const {
    static const std::regex loopback(R"((localhost|127\.[0-9.]+|\[::1\]):\d+)");
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    if (std::regex_match(target_, loopback)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // none leads back here
    return v1::ChatService::NewStub(grpc::CreateCustomChannel(target_, credentials_, arguments));
  }

  // Serves a stream until it has ended.
  void Follow(const std::string& token, Stream* stream) {
    const auto stub = Connect();
    stream->told_token = token;
    stream->context.AddMetadata("authorization", "Bearer " + token);
    stub->async()->Chat(&stream->context, stream);
    stream->AddHold();  // writes begin outside of the stream's own callbacks
    stream->StartRead(&stream->frame);
    stream->StartCall();
    std::unique_lock lock(mutex_);
    Greet(stream);
    while (!stream->is_over) {
      if (!stream->is_half_closed) TakeFrames(stream);
      if (WriteOne(stream, &lock)) continue;
      if (Clock::now() >= stale_at_ && !end_) RefreshInBackground();
      const Time due = std::min({stream->silent_at, stale_at_, DueTime(*stream)});
      if (due > Clock::now()) changed_.wait_until(lock, due);
      if (Clock::now() >= stream->silent_at && !stream->end) {
        stream->end = grpc::Status(grpc::UNAVAILABLE, "the server is silent");
      }
      if (stream->end || end_) {
        stream->context.TryCancel();
        changed_.wait(lock, [stream] { return stream->is_over; });
      }
    }
    lock.unlock();
    stream->RemoveHold();
    lock.lock();
    changed_.wait(lock, [stream] { return stream->is_done; });
    // What is under way has no answer: it goes out again, before anything newer.
    for (auto& [id, line] : outbox_) line.is_under_way = false;
  }

  // Writes a frame, or half-closes; false when there is nothing to write now. gRPC is called without the lock, since it
  // may call back at once.
  static bool WriteOne(Stream* stream, std::unique_lock<std::mutex>* lock) {
    if (stream->is_writing || (stream->frames.empty() && !stream->is_half_closed)) return false;
    stream->is_writing = true;  // after the half-close for good
    const bool is_last = stream->frames.empty();
    if (!is_last) {
      stream->written = std::move(stream->frames.front());
      stream->frames.pop_front();
    }
    lock->unlock();
    if (is_last) {
      stream->StartWritesDone();
    } else {
      stream->StartWrite(&stream->written);
    }
    lock->lock();
    return true;
  }

  // The login.

  // Makes a call that may be repeated, as often as it takes.
  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    Pause pause;
    while (true) {
      const auto stub = Connect();
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + kCallLimit);
      {
        std::lock_guard lock(mutex_);
        if (end_) return *end_;
        calls_.insert(&context);
      }
      grpc::Status status = (stub.get()->*method)(&context, request, response);
      {
        std::lock_guard lock(mutex_);
        calls_.erase(&context);
      }
      if (status.ok() || !IsPassing(status)) return status;
      if (!Rest(Clock::now() + pause.Next(status))) return Closed();
    }
  }

  std::string Token() {
    std::lock_guard lock(mutex_);
    return access_token_;
  }

  // Exchanges the tokens, unless that was done since `token` was in force.
  grpc::Status Refresh(const std::string& token) {
    std::lock_guard turn(renewing_);
    if (Token() != token) return grpc::Status::OK;
    v1::RefreshTokenResponse fresh;
    grpc::Status status = Call(&Stub::RefreshToken, renewal_, &fresh);
    if (status.ok()) TakeTokens(fresh);
    return status;
  }

  template <typename Response>
  void TakeTokens(const Response& response) {
    std::lock_guard lock(mutex_);
    access_token_ = response.access_token();
    renewal_.set_refresh_token(response.refresh_token());
    renewal_.set_request_id(RandomId());
    NoteLife(response.access_expire_time());
    changed_.notify_all();
  }

  // The exchange is due a minute before the token ends, or half-way, by the server's clock.
  void NoteLife(const google::protobuf::Timestamp& expire) {
    if (!server_epoch_) return;
    const Time now = Clock::now();
    const milliseconds life =
        std::chrono::duration_cast<milliseconds>(*server_epoch_ + Milliseconds(expire) - now);
    stale_at_ = now + std::max({milliseconds(1'000), life - milliseconds(60'000), life / 2});
  }

  static milliseconds Milliseconds(const google::protobuf::Timestamp& time) {
    return milliseconds(TimeUtil::TimestampToMilliseconds(time));
  }

  // What goes out. From here on all is under the lock.

  void Greet(Stream* stream) {
    v1::ChatRequest request;
    request.set_correlation_id(stream->hello_id = ++last_id_);
    v1::Hello& hello = *request.mutable_hello();
    hello.set_device_id(device_id_);
    hello.set_start(v1::START_FROM_ACKS);
    hello.set_epoch(epoch_);
    hello.set_window_messages(kWindow > inbox_.size() ? kWindow - inbox_.size() : 1);
    *hello.mutable_heartbeat() = TimeUtil::MillisecondsToDuration(heartbeat_.count());
    for (const auto& [id, seq] : positions_) {
      if (static_cast<size_t>(hello.positions_size()) < kMaxHelloPositions) AddPosition(id, seq, &hello);
    }
    stream->silent_at = Clock::now() + 3 * heartbeat_;
    stream->frames.push_back(std::move(request));
  }

  template <typename Frame>
  static void AddPosition(const std::string& id, int64_t seq, Frame* frame) {
    v1::Position* position = frame->add_positions();
    position->set_conversation_id(id);
    position->set_seq(seq);
  }

  static v1::ChatRequest* AddQuiet(Stream* stream) {
    v1::ChatRequest& request = stream->frames.emplace_back();
    request.set_correlation_id(kQuiet);
    return &request;
  }

  void TakeFrames(Stream* stream) {
    const Time now = Clock::now();
    if (MayBegin(*stream)) {
      for (auto& [id, line] : outbox_) {
        if (line.is_under_way || line.due > now) continue;
        line.is_under_way = true;
        v1::ChatRequest& request = stream->frames.emplace_back();
        request.set_correlation_id(++last_id_);
        *request.mutable_send()->add_requests() = line.sends.front().first;
        stream->under_way[last_id_] = id;
      }
      if (access_token_ != stream->told_token) {
        stream->told_token = access_token_;
        AddQuiet(stream)->mutable_authenticate()->set_access_token(access_token_);
      }
    }
    // Our half may end: all is answered, and the server or the program wants to go.
    const bool is_left = stream->leave_at != kNever && stream->under_way.empty();
    const bool is_done = is_left || (is_closing_ && stream->is_live && outbox_.empty());
    if (TellTime(*stream) <= now || (is_done && stream->is_live)) TellAcks(stream);
    stream->is_half_closed = is_done;
  }

  void TellAcks(Stream* stream) {
    v1::AckFrame* ack = nullptr;
    for (const std::string& id : untold_) {
      if (!ack || static_cast<size_t>(ack->positions_size()) == kMaxAckPositions) ack = AddQuiet(stream)->mutable_ack();
      AddPosition(id, acks_[id], ack);
    }
    untold_.clear();
    ack_count_ = 0;
    stream->tell_at = Clock::now() + kAckPause;
  }

  static bool MayBegin(const Stream& stream) {
    return stream.is_welcomed && stream.leave_at == kNever && !stream.is_half_closed;
  }

  // Acks go once a second, and at once when half of the window waits; not before all resets are known, since one above
  // a reset would skip new entries.
  Time TellTime(const Stream& stream) const {
    if (!stream.is_live || stream.is_half_closed || untold_.empty()) return kNever;
    return ack_count_ >= static_cast<int64_t>(kWindow / 2) ? Time{} : stream.tell_at;
  }

  // When there is something to write that is not to be written yet.
  Time DueTime(const Stream& stream) const {
    Time due = TellTime(stream);
    for (const auto& [id, line] : outbox_) {
      if (MayBegin(stream) && !line.is_under_way) due = std::min(due, line.due);
    }
    return due;
  }

  // What comes in.

  void Receive(const v1::ChatResponse& frame, Stream* stream) {
    const Time now = Clock::now();
    stream->silent_at = now + 3 * heartbeat_;
    for (const auto& welcome : frame.welcomes()) {
      stream->is_welcomed = true;
      stream->epoch = welcome.epoch();
      server_epoch_ = now - Milliseconds(welcome.server_time());
      NoteLife(welcome.access_expire_time());
    }
    for (const auto& reset : frame.resets()) {
      stream->resets.insert(reset.conversation_id());
      Void(reset);
    }
    if (frame.messages_size() || frame.caught_up_size()) BeginLive(stream);
    for (const auto& message : frame.messages()) {
      int64_t& position = positions_[message.conversation_id()];
      if (message.seq() <= position) continue;  // it came before
      position = message.seq();
      inbox_.emplace_back(message);
    }
    for (const auto& mark : frame.caught_up()) {
      if (mark.conversation_id().empty()) continue;
      int64_t& position = positions_[mark.conversation_id()];
      position = std::max(position, mark.seq());
    }
    for (const auto& result : frame.results()) {
      if (result.has_error()) {
        Refuse(result.correlation_id(), ToStatus(result.error()), stream);
      } else {
        Settle(result.correlation_id(), {grpc::Status::OK, result.accepted()}, stream);
      }
    }
    for (const auto& away : frame.go_aways()) {
      stream->leave_at = now + milliseconds(TimeUtil::DurationToMilliseconds(away.reconnect_delay()));
    }
    for (const auto& refused : frame.errors()) Refuse(refused.correlation_id(), ToStatus(refused.error()), stream);
  }

  // Should it fail, the stream's end says that the token has ended.
  void RefreshInBackground() {
    stale_at_ = kNever;
    if (is_renewing_) return;
    is_renewing_ = true;
    if (renewer_.joinable()) renewer_.join();  // it has done its work
    renewer_ = std::thread([this, token = access_token_] {
      Refresh(token);
      std::lock_guard lock(mutex_);
      is_renewing_ = false;
    });
  }

  // The first entry or mark: all resets came. Not before: a stream that breaks between two must bring all again.
  void BeginLive(Stream* stream) {
    if (stream->is_live) return;
    stream->is_live = true;
    stream->tell_at = Clock::now();
    if (epoch_ != stream->epoch) {
      // What the user is in has a reset; what else was known is gone.
      for (const auto& [id, seq] : Seqs(positions_)) {
        if (stream->resets.count(id)) continue;
        v1::Reset reset;
        reset.set_conversation_id(id);
        reset.set_epoch(stream->epoch);
        Void(reset);
        Forget(id);
      }
    }
    epoch_ = stream->epoch;
  }

  // What came above the reset's seq is void, whether the program took it yet or not.
  void Void(const v1::Reset& reset) {
    const std::string& id = reset.conversation_id();
    for (Seqs* seqs : {&positions_, &taken_, &acks_}) {
      if (auto found = seqs->find(id); found != seqs->end()) found->second = std::min(found->second, reset.seq());
    }
    const auto is_void = [&](const Entry& entry) {
      const auto* message = std::get_if<v1::Message>(&entry);
      return message && message->conversation_id() == id && message->seq() > reset.seq();
    };
    inbox_.erase(std::remove_if(inbox_.begin(), inbox_.end(), is_void), inbox_.end());
    inbox_.emplace_back(reset);
  }

  void Forget(const std::string& conversation_id) {
    for (Seqs* seqs : {&positions_, &taken_, &acks_}) seqs->erase(conversation_id);
    untold_.erase(conversation_id);
  }

  // Takes the final answer to a send.
  void Settle(int64_t correlation_id, const Answer& answer, Stream* stream) {
    const auto found = stream->under_way.find(correlation_id);
    if (found == stream->under_way.end()) return;
    const auto line = outbox_.find(found->second);
    stream->under_way.erase(found);
    if (line == outbox_.end()) return;
    line->second.sends.front().second.set_value(answer);
    line->second.sends.pop_front();
    Line rest;
    rest.sends = std::move(line->second.sends);
    if (rest.sends.empty()) {
      outbox_.erase(line);
    } else {
      line->second = std::move(rest);
    }
  }

  // With RetryInfo a send is refused for now, else for good. Refused acks and tokens change nothing; a refused hello
  // ends the stream, or after the welcome is about one position.
  void Refuse(int64_t correlation_id, const grpc::Status& refusal, Stream* stream) {
    if (correlation_id == stream->hello_id) {
      if (!stream->is_welcomed) {
        stream->end = refusal;
      } else if (auto info = FindDetail<google::rpc::ErrorInfo>(refusal)) {
        Forget((*info->mutable_metadata())["conversation_id"]);
      }
    } else if (!FindDetail<google::rpc::RetryInfo>(refusal)) {
      Settle(correlation_id, {refusal, {}}, stream);
    } else if (const auto found = stream->under_way.find(correlation_id); found != stream->under_way.end()) {
      Line& line = outbox_[found->second];
      line.is_under_way = false;
      line.due = Clock::now() + line.pause.Next(refusal);
      stream->under_way.erase(found);
    }
  }

  const std::string target_, device_id_;
  const std::shared_ptr<grpc::ChannelCredentials> credentials_;
  const milliseconds heartbeat_;
  std::thread thread_, renewer_;
  std::mutex renewing_;  // one exchange of a refresh token at a time
  std::mutex mutex_;     // guards all below
  std::condition_variable changed_;
  std::string access_token_;
  v1::RefreshTokenRequest renewal_;   // one request_id for all attempts: a second use with another ends the login
  std::optional<Time> server_epoch_;  // when the server's clock was at 0; known from the first welcome on
  Time stale_at_ = kNever;
  std::set<grpc::ClientContext*> calls_;
  std::map<std::string, Line> outbox_;
  std::deque<Entry> inbox_;
  Seqs positions_, taken_, acks_;  // the highest seq that came, that the program took, that it acknowledged
  std::set<std::string> untold_;   // conversations whose ack the server is to be told
  int64_t ack_count_ = 0, epoch_ = 0, last_id_ = kQuiet;
  bool is_closing_ = false, is_renewing_ = false;
  std::optional<grpc::Status> end_;
};

}  // namespace parley_session
