#include "formats/staging.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <string>
#include <utility>

#include "base/atomic_file.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;

void remove_abandoned(const fs::path& target) {
  const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
  const std::string prefix = target.filename().string() + ".partial-";
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(prefix)) continue;
    const char *begin = name.data() + prefix.size(), *last = name.data() + name.size();
    pid_t pid = 0;
    const auto parsed = std::from_chars(begin, last, pid);
    if (parsed.ec != std::errc() || parsed.ptr != last || pid <= 0) continue;
    std::error_code ignored;
    if (::kill(pid, 0) != 0 && errno == ESRCH) fs::remove_all(it->path(), ignored);
  }
}

}  // namespace

Status refuse_existing(const fs::path& target) {
  std::error_code error;
  if (fs::symlink_status(target, error).type() == fs::file_type::not_found) return {};
  return usage_error("[write] " + target.string() + " exists: choose another --out or remove it");
}

Result<StagingFolder> StagingFolder::create(const fs::path& target) {
  StagingFolder folder;
  folder.target_ = target;
  // "out/" names the same folder as "out".
  if (!folder.target_.has_filename()) folder.target_ = folder.target_.parent_path();
  if (folder.target_.empty()) return usage_error("[write] no output folder is named: give --out");
  SPARING_CHECK_OK(refuse_existing(folder.target_));
  remove_abandoned(folder.target_);
  const fs::path staging = folder.target_.string() + ".partial-" + std::to_string(::getpid());
  std::error_code error;
  fs::remove_all(staging, error);
  if (!fs::create_directory(staging, error)) {
    return resource_error("[write] " + folder.target_.string() + ": " +
                          (error ? error.message() : "cannot make the folder") + ": choose another --out");
  }
  folder.path_ = staging;
  return folder;
}

StagingFolder::StagingFolder(StagingFolder&& other) noexcept
    : target_(std::move(other.target_)), path_(std::exchange(other.path_, {})) {}

StagingFolder::~StagingFolder() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

Error StagingFolder::explain(Error error) const {
  const std::string staging = path_.string();
  const auto at = error.message.find(staging);
  if (at != std::string::npos) error.message.replace(at, staging.size(), target_.string());
  return error;
}

Status StagingFolder::publish() {
  SPARING_CHECK_OK(publish_directory(path_, target_));
  path_.clear();
  return {};
}

}  // namespace sparing
