#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "cli/app.h"

namespace sparing::cli {

Error exec_lab(char** argv) {
  namespace fs = std::filesystem;
  const std::string command = argv[1];
  std::error_code failed;
  const fs::path folder = fs::read_symlink("/proc/self/exe", failed).parent_path();
  if (failed) return resource_error("[" + command + "] /proc/self/exe: " + failed.message());
  const fs::path places[] = {folder / "sparing-lab", folder.parent_path() / "libexec" / "sparing" / "sparing-lab"};
  for (const fs::path& place : places) {
    if (::access(place.c_str(), X_OK) != 0) continue;
    ::execv(place.c_str(), argv);
    return resource_error("[" + command + "] " + place.string() + ": " + std::strerror(errno));
  }
  return resource_error("[" + command + "] sparing-lab is not installed: looked for " + places[0].string() + " and " +
                        places[1].string() + "; build it with SPARING_LAB=ON (needs libtorch)");
}

}  // namespace sparing::cli
