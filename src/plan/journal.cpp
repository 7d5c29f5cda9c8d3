#include "plan/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/atomic_file.h"
#include "base/checked.h"
#include "base/log.h"
#include "base/sha256.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "SPJBLK01";
constexpr std::size_t kHashSize = 64;
constexpr std::uint64_t kAlign = 64;

Error journal_error(const fs::path& path, const std::string& what) {
  return resource_error("[journal] " + path.string() + ": " + what);
}

void append_u64(std::string& text, std::uint64_t n) {
  for (int i = 0; i < 8; ++i) text.push_back(static_cast<char>(n >> (8 * i)));
}
std::uint64_t read_u64(Bytes bytes) {
  std::uint64_t n = 0;
  for (int i = 0; i < 8; ++i) n |= static_cast<std::uint64_t>(bytes[static_cast<std::size_t>(i)]) << (8 * i);
  return n;
}
Bytes bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// Takes bytes from the front of what is left of a damaged or whole file.
struct Cursor {
  Bytes left;
  std::optional<Bytes> take(std::uint64_t n) {
    if (n > left.size()) return std::nullopt;
    const Bytes part = left.first(n);
    left = left.subspan(n);
    return part;
  }
};

/// Header: magic, hash of everything after it, plan hash, count, sizes of the records and of the report, block name.
std::optional<BlockRecord> parse_block(const std::shared_ptr<const MappedFile>& file, const std::string& plan_hash,
                                       const std::string& block) {
  Cursor cursor{file->bytes()};
  const auto magic = cursor.take(kMagic.size());
  if (!magic || std::memcmp(magic->data(), kMagic.data(), kMagic.size()) != 0) return std::nullopt;
  const auto hash = cursor.take(kHashSize);
  if (!hash || std::memcmp(sha256_hex(cursor.left).data(), hash->data(), kHashSize) != 0) return std::nullopt;
  const auto plan = cursor.take(kHashSize);
  if (!plan || std::memcmp(plan->data(), plan_hash.data(), kHashSize) != 0) return std::nullopt;
  const auto counts = cursor.take(24);
  if (!counts) return std::nullopt;
  const std::uint64_t records = read_u64(counts->subspan(0)), report = read_u64(counts->subspan(8)),
                      name = read_u64(counts->subspan(16));
  const auto name_bytes = cursor.take(name);
  if (!name_bytes || name != block.size() || std::memcmp(name_bytes->data(), block.data(), name) != 0) {
    return std::nullopt;
  }
  const auto report_bytes = cursor.take(report);
  if (!report_bytes) return std::nullopt;
  if (records > cursor.left.size() / 8) return std::nullopt;
  const auto sizes = cursor.take(records * 8);
  BlockRecord result;
  result.report.assign(reinterpret_cast<const char*>(report_bytes->data()), report);
  for (std::uint64_t i = 0; i < records; ++i) {
    const std::uint64_t size = read_u64(sizes->subspan(i * 8));
    const std::uint64_t at = file->bytes().size() - cursor.left.size();
    if (!cursor.take(round_up(at, kAlign) - at)) return std::nullopt;
    const auto part = cursor.take(size);
    if (!part) return std::nullopt;
    result.weights.push_back(Blob::in(file, *part));
  }
  if (!cursor.left.empty()) return std::nullopt;
  return result;
}

}  // namespace

fs::path Journal::folder_of(const fs::path& out) {
  fs::path clean = out.lexically_normal();
  if (!clean.has_filename()) clean = clean.parent_path();
  return clean.parent_path() / ("." + clean.filename().string() + ".sparing-journal");
}

Result<Journal> Journal::open(const fs::path& out) {
  Journal journal;
  journal.out_ = out.lexically_normal();
  if (!journal.out_.has_filename()) journal.out_ = journal.out_.parent_path();
  journal.folder_ = folder_of(out);
  const fs::path lock = journal.folder_ / "lock";
  // A run that finishes removes the folder with its lock: the one just locked may be gone from its path. Then again.
  for (int attempt = 0; attempt < 16; ++attempt) {
    if (::mkdir(journal.folder_.c_str(), 0755) == 0) {
      journal.created_ = true;
    } else if (errno != EEXIST) {
      return journal_error(
          journal.out_, std::string("cannot be written beside (") + std::strerror(errno) + "): choose another --out");
    }
    const int fd = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
      if (errno == ENOENT) continue;
      Error error = journal_error(lock, std::strerror(errno));
      if (journal.created_) ::rmdir(journal.folder_.c_str());
      return error;
    }
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      ::close(fd);
      return journal_error(journal.out_,
                           "another compression is writing it: wait for that one or choose another --out");
    }
    struct stat held {
    }, named{};
    if (::fstat(fd, &held) == 0 && ::stat(lock.c_str(), &named) == 0 && held.st_ino == named.st_ino) {
      journal.lock_ = fd;
      return journal;
    }
    ::close(fd);
  }
  return journal_error(lock, "keeps changing under another run: try again");
}

Journal::Journal(Journal&& other) noexcept
    : out_(std::move(other.out_)),
      folder_(std::move(other.folder_)),
      plan_folder_(std::move(other.plan_folder_)),
      plan_hash_(std::move(other.plan_hash_)),
      lock_(std::exchange(other.lock_, -1)),
      created_(other.created_),
      used_(other.used_) {}

Journal::~Journal() {
  if (lock_ < 0) return;
  if (!holds_work()) {
    remove();
    return;
  }
  ::close(lock_);
}

Status Journal::begin(const std::string& plan_hash, const std::string& plan_json) {
  plan_hash_ = plan_hash;
  plan_folder_ = folder_ / plan_hash;
  if (::mkdir(plan_folder_.c_str(), 0755) != 0 && errno != EEXIST) {
    return journal_error(plan_folder_, std::strerror(errno));
  }
  // What a killed run was writing when it died.
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(plan_folder_, ignored)) {
    if (entry.path().filename().string().find(".partial-") != std::string::npos) fs::remove(entry.path(), ignored);
  }
  return write_file_atomically(plan_folder_ / "plan.json", plan_json);
}

Result<std::optional<BlockRecord>> Journal::load(const std::string& block) const {
  const fs::path path = plan_folder_ / (block + ".block");
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::optional<BlockRecord>();
  if (auto file = MappedFile::open(path); file.ok()) {
    if (auto record = parse_block(*file, plan_hash_, block)) {
      (*file)->forget((*file)->bytes());  // all was read for its hash
      return record;
    }
  }
  log_warning("[journal] " + path.string() + " is damaged: " + block + " is done again");
  fs::remove(path, ignored);
  return std::optional<BlockRecord>();
}

Status Journal::store(const std::string& block, const BlockRecord& record) {
  std::string body = plan_hash_;
  append_u64(body, record.weights.size());
  append_u64(body, record.report.size());
  append_u64(body, block.size());
  body += block;
  body += record.report;
  for (const Blob& weight : record.weights) append_u64(body, weight.bytes.size());
  const std::uint64_t lead = kMagic.size() + kHashSize;
  static constexpr std::array<char, kAlign> zeros{};

  Sha256 hash;
  std::uint64_t at = lead + body.size();
  hash.update(bytes_of(body));
  for (const Blob& weight : record.weights) {
    const std::uint64_t gap = round_up(at, kAlign) - at;
    hash.update(bytes_of(std::string_view(zeros.data(), gap)));
    hash.update(weight.bytes);
    at += gap + weight.bytes.size();
  }
  SPARING_TRY(AtomicFile file, AtomicFile::create(plan_folder_ / (block + ".block")));
  SPARING_CHECK_OK(file.write(kMagic));
  SPARING_CHECK_OK(file.write(hash.finish()));
  SPARING_CHECK_OK(file.write(body));
  for (const Blob& weight : record.weights) {
    SPARING_CHECK_OK(file.write_zeros(round_up(file.size(), kAlign) - file.size()));
    SPARING_CHECK_OK(file.write(weight.bytes));
  }
  SPARING_CHECK_OK(file.commit());
  used_ = true;
  return {};
}

Status Journal::keep_note(const std::string& key, const std::string& json) {
  // The hash comes first, so that a damaged note reads as none.
  SPARING_CHECK_OK(
      write_file_atomically(folder_ / ("note-" + key + ".json"), sha256_hex(bytes_of(json)) + "\n" + json));
  used_ = true;
  return {};
}

std::optional<std::string> Journal::note(const std::string& key) const {
  auto text = read_text_file(folder_ / ("note-" + key + ".json"));
  if (!text.ok() || text->size() < kHashSize + 1) return std::nullopt;
  std::string json = text->substr(kHashSize + 1);
  if (text->compare(0, kHashSize, sha256_hex(bytes_of(json))) != 0) return std::nullopt;
  return json;
}

Result<fs::path> Journal::staging() const {
  const fs::path path = plan_folder_ / "output";
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return journal_error(path, error.message());
  // The writer stages beside its target too.
  for (const auto& entry : fs::directory_iterator(plan_folder_, error)) {
    const std::string name = entry.path().filename().string();
    std::error_code ignored;
    if (name != "plan.json" && !name.ends_with(".block")) fs::remove_all(entry.path(), ignored);
  }
  return path;
}

Status Journal::publish() {
  SPARING_CHECK_OK(write_file_atomically(plan_folder_ / "publishing", ""));
  SPARING_CHECK_OK(publish_directory(plan_folder_ / "output", out_));
  remove();
  return {};
}

bool Journal::was_published(const std::string& plan_hash) const {
  std::error_code ignored;
  const fs::path folder = folder_ / plan_hash;
  return fs::exists(folder / "publishing", ignored) && !fs::exists(folder / "output", ignored) &&
         fs::is_directory(out_, ignored);
}

bool Journal::may_be_published(const fs::path& out) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder_of(out), ignored)) {
    if (fs::exists(entry.path() / "publishing", ignored)) return true;
  }
  return false;
}

void Journal::remove() {
  // What says that the output is published goes last: a run killed on the way is known to have ended by it.
  std::error_code ignored;
  std::vector<fs::path> entries;
  for (const fs::path& folder : {plan_folder_, folder_}) {
    for (const auto& entry : fs::directory_iterator(folder, ignored)) entries.push_back(entry.path());
  }
  for (const fs::path& path : entries) {
    if (path != plan_folder_ && path != plan_folder_ / "publishing") fs::remove_all(path, ignored);
  }
  fs::remove_all(folder_, ignored);
  if (lock_ >= 0) ::close(std::exchange(lock_, -1));
}

}  // namespace sparing
