// Drives the sessions of ../examples/session.h, by their names.
#pragma once

#include <future>
#include <map>
#include <memory>
#include <string>

#include "../examples/session.h"
#include "messages.h"

class Sessions {
 public:
  // Carries out a command that begins with `session_`.
  json Run(const std::string& act, const json& command);

 private:
  // A session, and its sends that are under way, by ticket.
  struct Driven {
    std::unique_ptr<parley_session::Session> session;
    std::map<std::string, std::future<parley_session::Answer>> sends;
  };

  json Open(const json& command);

  std::map<std::string, Driven> driven_;
};
