#pragma once
// What a model says about itself, between a GGUF's general.* metadata and the front matter of a Hugging Face model
// card.
//
// License, license name and link, languages and tags have names on both sides; any other general.* key keeps its name
// in the front matter, so that nothing is lost on the way through a directory.

#include <string>

#include "formats/gguf.h"
#include "formats/gguf_writer.h"

namespace sparing {

/// A model card from general.*; empty where the file says nothing. What describes the file itself (its types, its
/// alignment) is left out.
std::string card_from_gguf(const GgufHeader& header);

/// general.* from a card's front matter (a subset of YAML: scalars, lists of scalars), except architecture, type and
/// name, which are the exporter's. What cannot be read is left out.
void put_card(const std::string& card, GgufMetadata& metadata);

}  // namespace sparing
