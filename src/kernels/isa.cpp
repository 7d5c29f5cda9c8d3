#include "kernels/isa.h"

#include <atomic>
#include <cstdlib>
#include <iterator>

#include "base/log.h"

namespace sparing::kernels {
namespace {

constexpr std::string_view kNames[] = {"reference", "avx2", "avx512_vnni", "avx512_bf16", "amx", "neon"};

std::vector<Isa> probe() {
  std::vector<Isa> found;
  found.push_back(Isa::reference);
  return found;
}

std::string known() {
  std::string text;
  for (const Isa isa : available_isas()) text += (text.empty() ? "" : ", ") + std::string(name_of(isa));
  return text;
}

std::atomic<Isa>& choice() {
  static std::atomic<Isa> chosen = [] {
    const char* wanted = std::getenv("SPARING_ISA");
    if (wanted != nullptr) {
      for (const Isa isa : available_isas())
        if (name_of(isa) == wanted) return isa;
      log_warning("[isa] SPARING_ISA=" + std::string(wanted).substr(0, 40) + ": this machine has " + known());
    }
    return available_isas().front();
  }();
  return chosen;
}

}  // namespace

std::string_view name_of(Isa isa) {
  return kNames[static_cast<std::size_t>(isa)];
}

const std::vector<Isa>& available_isas() {
  static const std::vector<Isa> isas = probe();
  return isas;
}

Isa chosen_isa() {
  return choice().load();
}

Status choose_isa(std::string_view name) {
  for (const Isa isa : available_isas()) {
    if (name_of(isa) != name) continue;
    choice().store(isa);
    return {};
  }
  return usage_error("[isa] \"" + std::string(name.substr(0, 40)) + "\": this machine has " + known());
}

const KernelSet& kernels_of(Isa isa) {
  (void)isa;
  return reference_kernels;
}

}  // namespace sparing::kernels
