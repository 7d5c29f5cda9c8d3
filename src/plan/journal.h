#pragma once
// What a compression has finished so far, kept beside its output so that a killed run goes on where it was.
//
//   .NAME.sparing-journal/          beside the output NAME
//     lock                          held (flock) by the run in progress
//     note-<key>.json               small facts worth keeping: a solver's answer, by the hash of what was asked
//     <plan hash>/plan.json         written before any coding
//     <plan hash>/<block>.block     the coded weights of one finished block, with their hashes
//     <plan hash>/output/           the finished directory, until it is renamed to NAME
//     <plan hash>/publishing        the output is complete: only the rename may be missing
//
// Every file is written aside, synced and renamed: it exists whole or not at all, whenever the process dies.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "tensor/buffer.h"

namespace sparing {

/// One finished block: its sites' records (encode_weight_record) in the model's order, and what to report about them.
struct BlockRecord {
  std::vector<Blob> weights;  ///< mapped from the journal when loaded; 64-byte aligned
  std::string report;         ///< JSON
};

class Journal {
 public:
  /// Starts or finds the journal of `out` and takes its lock. Errors: the folder cannot be written, another run holds
  /// the lock.
  static Result<Journal> open(const std::filesystem::path& out);
  /// The folder that the journal of `out` lives in, whether it exists or not.
  static std::filesystem::path folder_of(const std::filesystem::path& out);
  Journal(Journal&&) noexcept;
  Journal& operator=(Journal&&) = delete;
  /// Releases the lock. A journal that holds nothing worth keeping is removed.
  ~Journal();

  const std::filesystem::path& folder() const { return folder_; }

  /// Keeps the plan, before any of it is done. From here on blocks are this plan's alone.
  Status begin(const std::string& plan_hash, const std::string& plan_json);
  /// A finished block, or nothing where there is none or its record is damaged (which is then removed and done again).
  Result<std::optional<BlockRecord>> load(const std::string& block) const;
  Status store(const std::string& block, const BlockRecord& record);

  Status keep_note(const std::string& key, const std::string& json);
  std::optional<std::string> note(const std::string& key) const;

  /// Where the output is built; leftovers of a killed run are removed. It does not exist on return.
  Result<std::filesystem::path> staging() const;
  /// Renames staging() to `out`, which then is complete, and removes the journal.
  Status publish();
  /// True where an earlier run of this very plan had published `out` and died before it could remove the journal.
  bool was_published(const std::string& plan_hash) const;
  /// Whether the journal of `out` may say so of some plan: without opening it.
  static bool may_be_published(const std::filesystem::path& out);
  /// Whether this run started it.
  bool is_new() const { return created_; }
  /// Whether there is work in it that a later run can use.
  bool holds_work() const { return used_ || !created_; }
  /// Removes everything: the work is done.
  void remove();

 private:
  Journal() = default;
  std::filesystem::path out_, folder_, plan_folder_;
  std::string plan_hash_;
  int lock_ = -1;
  bool created_ = false, used_ = false;
};

}  // namespace sparing
