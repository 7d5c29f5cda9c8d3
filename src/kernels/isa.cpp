#include "kernels/isa.h"

#include <atomic>
#include <cstdlib>
#include <iterator>

#include "base/log.h"

#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace sparing::kernels {
namespace {

constexpr std::string_view kNames[] = {"reference", "avx2", "avx512_vnni", "avx512_bf16",
                                       "amx",       "neon", "neon_dotprod"};

#if defined(__x86_64__)
// Linux hands out the 8 KiB of tile state only on request (arch_prctl ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA).
[[maybe_unused]] bool amx_granted() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

// Features that one of the two compilers' __builtin_cpu_supports does not know.
struct CpuId {
  unsigned a = 0, b = 0, c = 0, d = 0;
};
CpuId cpuid(unsigned leaf) {
  CpuId r;
  r.a = leaf;
  __asm__ volatile("cpuid" : "+a"(r.a), "=b"(r.b), "+c"(r.c), "=d"(r.d));
  return r;
}
bool has_f16c() {
  return ((cpuid(1).c >> 29) & 1u) != 0;
}
/// AMX-TILE and AMX-INT8.
bool has_amx() {
#if defined(SPARING_EMULATED_TILES)
  return true;
#else
  return ((cpuid(7).d >> 24) & 3u) == 3u && amx_granted();
#endif
}
#endif

std::vector<Isa> probe() {
  std::vector<Isa> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  const bool vnni = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vnni");
  if (vnni && has_amx()) found.push_back(Isa::amx);
  if (vnni) found.push_back(Isa::avx512_vnni);
  if (avx2) found.push_back(Isa::avx2);
#elif defined(__aarch64__)
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) found.push_back(Isa::neon_dotprod);
  found.push_back(Isa::neon);
#endif
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

bool has_bf16_tiles() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bf16") == 0) return false;
#if defined(SPARING_EMULATED_TILES)
  return true;
#else
  return has_amx() && ((cpuid(7).d >> 22) & 1u) != 0;
#endif
#else
  return false;
#endif
}

const KernelSet& kernels_of(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::avx2:
      return avx2_kernels;
    case Isa::avx512_vnni:
    case Isa::avx512_bf16:
      return avx512_kernels;
    case Isa::amx:
      return amx_kernels;
#elif defined(__aarch64__)
    case Isa::neon:
      return neon_kernels;
    case Isa::neon_dotprod:
      return neon_dotprod_kernels;
#endif
    default:
      return reference_kernels;
  }
}

}  // namespace sparing::kernels
