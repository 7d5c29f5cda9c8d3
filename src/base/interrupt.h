#pragma once
// Ctrl-C asks, work that can stop cleanly looks; a second Ctrl-C ends the process at once.

#include <string_view>

#include "base/result.h"

namespace sparing {

/// From now on SIGINT and SIGTERM set a flag once; the next one has its usual effect. Blocking reads and sleeps are cut
/// short (EINTR).
void catch_interrupts();
bool interrupted();
/// Forgets an interrupt that has been dealt with and catches the next one too.
void clear_interrupt();
/// Sets the flag as a signal would (tests).
void request_interrupt();
/// "[operation] interrupted: <what is kept>"
Error interrupted_error(std::string_view operation, std::string_view what_is_kept = "nothing was written");

}  // namespace sparing
