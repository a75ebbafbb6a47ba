#include "errors.h"

#include <google/protobuf/util/time_util.h>

#include <array>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace {

// gRPC for C++ has numbers only.
const std::array<const char*, 17> kCodeNames = {
    "OK",        "CANCELLED",       "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS",  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",    "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED",
};

}  // namespace

json Describe(const grpc::Status& status) {
  std::string code = kCodeNames.at(status.error_code());
  json error = {{"code", code}, {"message", status.error_message()}, {"log", code + ": " + status.error_message()}};
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return error;
  for (const auto& detail : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad_request;
    google::rpc::RetryInfo retry;
    if (detail.UnpackTo(&info) && info.domain() == "parley.v1") {
      error["reason"] = info.reason();
      error["metadata"] = json::object();
      for (const auto& [key, value] : info.metadata()) error["metadata"][key] = value;
    } else if (detail.UnpackTo(&bad_request)) {
      for (const auto& violation : bad_request.field_violations()) error["fields"].push_back(violation.field());
    } else if (detail.UnpackTo(&retry)) {
      error["retry_delay_ms"] = google::protobuf::util::TimeUtil::DurationToMilliseconds(retry.retry_delay());
    }
  }
  return error;
}
