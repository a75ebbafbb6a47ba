// How a failed call looks in C++: a grpc::Status, with a google.rpc.Status in its error_details().
#pragma once

#include <grpcpp/support/status.h>

#include "messages.h"

// ERROR of conformance/README.md.
json Describe(const grpc::Status& status);
