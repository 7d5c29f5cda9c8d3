#include "base/interrupt.h"

#include <csignal>

#include <atomic>
#include <string>

namespace sparing {
namespace {

std::atomic<bool> flag{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_signal(int) {
  flag.store(true, std::memory_order_relaxed);
}

}  // namespace

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() {
  return flag.load(std::memory_order_relaxed);
}

void clear_interrupt() {
  flag.store(false, std::memory_order_relaxed);
  catch_interrupts();
}

void request_interrupt() {
  flag.store(true, std::memory_order_relaxed);
}

Error interrupted_error(std::string_view operation, std::string_view what_is_kept) {
  return {ErrorKind::interrupted, "[" + std::string(operation) + "] interrupted: " + std::string(what_is_kept)};
}

}  // namespace sparing
