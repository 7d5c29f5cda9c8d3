#include "cli/commands.h"

namespace sparing::cli {

Program sparing_program() {
  Program program;
  program.name = "sparing";
  program.description =
      "sparing - compress language models under a budget of bytes, speed or memory, measure what it costs, and run "
      "them";
  program.footer =
      "Models are files or directories (Hugging Face, GGUF, llama2.c .bin, Sparing), or org/model in the local\n"
      "Hugging Face cache. 'sparing COMMAND --help' has each command's options and examples.\n"
      "\n"
      "Exit status: 0 done, 2 wrong usage, 3 bad file, 4 memory, disk or a budget that cannot be met, 5 interrupted,\n"
      "70 a bug.";
  program.commands = {register_inspect, register_verify, register_eval, register_sweep, register_methods,
                      register_convert, register_run,    register_chat, register_bench};
  program.delegated = {
      {"plan", kChangeGroup, "Find the best model for a budget, and say what to expect of it"},
      {"claims", kLookGroup, "Run what the methods claim against their baselines at equal bytes"},
      {"compress", kChangeGroup, "Make a smaller model, with a method or to fit a budget"},
  };
  return program;
}

}  // namespace sparing::cli
