#pragma once
// A block's graph cut where linear layers read: a stage is what runs before the sites that read its last value are
// coded. Torch-free.

#include <string>
#include <vector>

#include "models/graph.h"

namespace sparing::lab {

struct Stage {
  struct Reader {
    std::string site;
    Value joins = -1;  ///< the value that the site's output is added to, if any
  };
  std::size_t first = 0, last = 0;   ///< ops [first, last)
  Value observed = -1;               ///< what `readers` read; -1 in the last stage
  std::vector<Reader> readers = {};  ///< linear sites, in the graph's order
  std::vector<Value> in = {};        ///< values made before this stage that it reads
  std::vector<Value> out = {};       ///< values made in it that later stages read (or the graph gives)
  std::vector<Value> spent = {};     ///< values that nothing reads after it
};

std::vector<Stage> cut_into_stages(const Graph& graph);
/// All ops as one stage that observes nothing.
Stage whole_graph(const Graph& graph);

}  // namespace sparing::lab
