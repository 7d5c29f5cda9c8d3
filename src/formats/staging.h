#pragma once
// A folder that is built aside and appears under its name when it is complete.

#include <filesystem>

#include "base/result.h"

namespace sparing {

class StagingFolder {
 public:
  /// Makes `<target>.partial-<pid>`; removes those that dead processes left. Refuses an existing target.
  static Result<StagingFolder> create(const std::filesystem::path& target);
  StagingFolder(StagingFolder&& other) noexcept;
  StagingFolder& operator=(StagingFolder&&) = delete;
  /// Removes what was not published.
  ~StagingFolder();
  const std::filesystem::path& path() const { return path_; }
  Status publish();
  /// The same error with the name that the user gave in place of the staging folder's.
  Error explain(Error error) const;

 private:
  StagingFolder() = default;
  std::filesystem::path target_, path_;
};

/// Refuses a target that exists, with the message all writers give.
Status refuse_existing(const std::filesystem::path& target);

}  // namespace sparing
