#include "text/sentencepiece_library.h"

#include <dlfcn.h>

#include <filesystem>

namespace sparing {
namespace {

namespace fs = std::filesystem;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kOwnSymbols = 0;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr int kOwnSymbols = 0;  // the sanitizers refuse it, and libtorch is not built with them
#else
constexpr int kOwnSymbols = RTLD_DEEPBIND;
#endif
#else
constexpr int kOwnSymbols = RTLD_DEEPBIND;
#endif

using Make = SentencePieceLibrary* (*)();

Result<Make> load_module() {
  std::error_code failed;
  const fs::path folder = fs::read_symlink("/proc/self/exe", failed).parent_path();
  if (failed) return resource_error("[tokenizer.model] /proc/self/exe: " + failed.message());
  const std::string name = "sparing_sentencepiece.so";
  std::string why;
  for (const fs::path& place : {folder / name, folder.parent_path() / "libexec" / "sparing" / name}) {
    // Never unloaded: the objects it made may live as long as the program.
    void* const module = ::dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL | kOwnSymbols);
    if (module != nullptr) {
      if (void* const made = ::dlsym(module, "sparing_sentencepiece_new")) return reinterpret_cast<Make>(made);
    }
    if (const char* message = ::dlerror()) why += (why.empty() ? "" : "; ") + std::string(message);
  }
  return resource_error("[tokenizer.model] the SentencePiece module does not load: " + why);
}

}  // namespace

Result<std::unique_ptr<SentencePieceLibrary>> SentencePieceLibrary::open() {
  static const Result<Make> make = load_module();
  if (!make) return Error(make.error());
  return std::unique_ptr<SentencePieceLibrary>((*make)());
}

}  // namespace sparing
