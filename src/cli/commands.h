#pragma once
// One subcommand per file, <name>.cpp.

#include "cli/app.h"

namespace sparing::cli {

void register_bench(CLI::App& app, Session& session);
void register_chat(CLI::App& app, Session& session);
void register_convert(CLI::App& app, Session& session);
void register_eval(CLI::App& app, Session& session);
void register_inspect(CLI::App& app, Session& session);
void register_methods(CLI::App& app, Session& session);
void register_run(CLI::App& app, Session& session);
void register_sweep(CLI::App& app, Session& session);
void register_verify(CLI::App& app, Session& session);

/// What the torch-free program offers, and what it hands to sparing-lab.
Program sparing_program();

}  // namespace sparing::cli
