#include "plan/sites.h"

#include <sys/mman.h>

#include <algorithm>
#include <map>

#include "base/units.h"
#include "codecs/transform.h"

namespace sparing {
namespace {

/// Zero bytes that cost no memory: pages of the map are never touched, or are the kernel's zero page.
Result<Blob> zeros(std::uint64_t size) {
  if (size == 0) return Blob{};
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return resource_error("[plan] " + format_bytes(size) + ": no address space left");
  const auto* bytes = static_cast<const std::byte*>(data);
  return Blob{{bytes, size},
              std::shared_ptr<const void>(bytes, [size](const void* p) { ::munmap(const_cast<void*>(p), size); })};
}

}  // namespace

std::string_view name_of(SiteRole role) {
  switch (role) {
    case SiteRole::linear:
      return "linear";
    case SiteRole::embedding:
      return "embedding";
    case SiteRole::head:
      return "head";
  }
  return "?";
}

std::vector<SiteInfo> weight_sites(const Checkpoint& checkpoint) {
  std::vector<SiteInfo> sites;
  for (const TensorEntry& tensor : checkpoint.tensors()) {
    if (tensor.shape.is_vector()) continue;
    SiteInfo site{tensor.shape.name, SiteRole::linear, tensor.shape.rows, tensor.shape.cols, false};
    if (site.name == "embed") {
      site.role = SiteRole::embedding;
      site.tied = checkpoint.config().tied_head;
    } else if (site.name == "head") {
      site.role = SiteRole::head;
    }
    sites.push_back(std::move(site));
  }
  return sites;
}

bool BoundSite::calibrates() const {
  return method != nullptr && method->traits.calibration != "none";
}

bool BoundSite::corrects() const {
  return method != nullptr && method->corrects != nullptr && method->corrects(params);
}

bool BoundSite::guides() const {
  return method != nullptr && method->guides != nullptr && method->guides(params);
}

bool BoundSite::weighs_outputs() const {
  return method != nullptr && method->weighs_outputs != nullptr && method->weighs_outputs(params);
}

bool BoundSite::turns() const {
  if (method == nullptr || method->transform == nullptr) return false;
  const TransformKind kind = method->transform(params);
  return kind == TransformKind::hadamard || kind == TransformKind::diagonal;
}

TrainingSchedule BoundSite::schedule() const {
  if (method == nullptr || method->schedule == nullptr || site.role != SiteRole::linear) return {};
  return method->schedule(params);
}

namespace {

Status check_schedules(const std::vector<BoundSite>& sites) {
  std::map<std::string, const BoundSite*> first;
  for (const BoundSite& site : sites) {
    const TrainingSchedule schedule = site.schedule();
    if (schedule.steps == 0) continue;
    const auto [found, added] = first.emplace(block_of(site.site.name), &site);
    if (!added && !(found->second->schedule() == schedule)) {
      return usage_error("[plan] site " + site.site.name + ": trained otherwise than " + found->second->site.name +
                         " of the same block: give both the same steps, batch, checks, target, loss and products");
    }
  }
  return {};
}

}  // namespace

Result<std::vector<BoundSite>> bind_plan(Plan& plan, const Checkpoint& checkpoint, const std::string& model_hash) {
  if (plan.model_hash != model_hash) {
    return input_error("[plan] model_hash " + plan.model_hash.substr(0, 12) + "...: this model's is " +
                       model_hash.substr(0, 12) + "...: the plan was made for another model");
  }
  const std::vector<SiteInfo> sites = weight_sites(checkpoint);
  std::map<std::string, SiteChoice*> chosen;
  for (SiteChoice& choice : plan.sites) {
    const auto known = [&](const SiteInfo& site) { return site.name == choice.site; };
    if (std::ranges::none_of(sites, known)) {
      return input_error("[plan] site " + choice.site + ": the model has no such site ('sparing inspect' lists them)");
    }
    if (choice.kind != "weight") {
      return input_error("[plan] site " + choice.site + ": kind '" + choice.kind + "' is unknown; it is a weight");
    }
    if (!chosen.emplace(choice.site, &choice).second) {
      return input_error("[plan] site " + choice.site + " is listed twice: keep one");
    }
  }
  std::vector<BoundSite> bound;
  std::vector<SiteChoice> ordered;
  for (const SiteInfo& site : sites) {
    const auto found = chosen.find(site.name);
    if (found == chosen.end()) {
      return input_error("[plan] site " + site.name + " is missing: add it, with method \"keep\" to leave it as it is");
    }
    SiteChoice& choice = *found->second;
    BoundSite entry{site, nullptr, {}};
    const auto named = [&](Error error) {
      // The method's own "[gptq] " gives way: one operation leads a message.
      const auto close = error.message.find("] ");
      if (error.message.starts_with('[') && close != std::string::npos) error.message.erase(0, close + 2);
      error.message = "[plan] site " + site.name + ": " + error.message;
      return error;
    };
    if (choice.method == kKeep) {
      if (!choice.params.empty()) {
        return input_error("[plan] site " + site.name + ": keep has no parameter '" + choice.params[0].first + "'");
      }
    } else {
      auto method = find_method(choice.method);
      if (!method) return named(std::move(method).error());
      entry.method = *method;
      if (entry.method->kind != MethodKind::weights || entry.method->codings == nullptr ||
          entry.method->apply == nullptr) {
        return input_error("[plan] site " + site.name + ": method " + choice.method + " does not code a weight");
      }
      auto params = Params::make(*entry.method, choice.params);
      if (!params) return named(std::move(params).error());
      entry.params = std::move(params).value();
      if (auto specs = entry.method->codings(entry.params, site.rows, site.cols); !specs) {
        return named(std::move(specs).error());
      }
      choice.params = entry.params.entries();
    }
    if (entry.calibrates() && site.role == SiteRole::embedding && !site.tied) {
      return input_error("[plan] site " + site.name + ": " + choice.method +
                         " needs statistics of a site's inputs, and an embedding has none: use rtn");
    }
    if (entry.calibrates() && plan.calibration.tokens == 0) {
      return input_error("[plan] site " + site.name + ": " + choice.method +
                         " needs calibration, and the plan's calibration has 0 tokens");
    }
    bound.push_back(std::move(entry));
    ordered.push_back(std::move(choice));
  }
  SPARING_CHECK_OK(check_schedules(bound));
  plan.sites = std::move(ordered);
  return bound;
}

Result<CodedWeight> sized_weight(const BoundSite& site, const Checkpoint& checkpoint) {
  if (site.method == nullptr) return checkpoint.weight(site.site.name);
  CodedWeight weight;
  weight.rows = site.site.rows;
  weight.cols = site.site.cols;
  SPARING_TRY(const std::vector<CodecSpec> specs, site.method->codings(site.params, weight.rows, weight.cols));
  for (const CodecSpec& spec : specs) {
    SPARING_TRY(const std::uint64_t size, blob_bytes(spec, weight.rows, weight.cols));
    SPARING_TRY(Blob blob, zeros(size));
    weight.terms.push_back({spec, std::move(blob)});
  }
  if (site.method->transform != nullptr) {
    weight.input.kind = site.method->transform(site.params);
    if (weight.input.kind == TransformKind::hadamard) weight.input.block = hadamard_block(weight.cols);
    SPARING_TRY(const std::uint64_t size, blob_bytes(weight.input, weight.cols));
    SPARING_TRY(weight.input.blob, zeros(size));
  }
  return weight;
}

}  // namespace sparing
