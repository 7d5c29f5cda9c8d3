// sparing-lab: what calibrates or trains. Users call sparing, which starts this program.

#include "cli/lab_commands.h"

namespace sparing::cli {

Program lab_program() {
  Program program;
  program.name = "sparing";
  program.description = "The part of sparing that calibrates and trains; 'sparing' starts it itself";
  program.footer = "'sparing --help' lists every command.";
  program.commands = {register_claims, register_plan, register_compress};
  return program;
}

}  // namespace sparing::cli

int main(int argc, char** argv) {
  using namespace sparing::cli;
  return run_app(lab_program(), argc, argv);
}
