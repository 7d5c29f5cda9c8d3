#pragma once
// What sparing-lab offers: the subcommands that calibrate or train.

#include "cli/app.h"

namespace sparing::cli {

void register_plan(CLI::App& app, Session& session);
void register_claims(CLI::App& app, Session& session);
void register_compress(CLI::App& app, Session& session);

Program lab_program();

}  // namespace sparing::cli
