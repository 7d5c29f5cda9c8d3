#include "cli/app.h"
#include "cli/commands.h"

int main(int argc, char** argv) {
  using namespace sparing::cli;
  return run_app(sparing_program(), argc, argv);
}
