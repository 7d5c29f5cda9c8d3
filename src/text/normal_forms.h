#pragma once
#include <string>
#include <string_view>

namespace sparing {

/// Unicode's canonical normal forms (UAX #15) of valid UTF-8, for the characters that Hugging Face's tokenizers knows.
std::string to_nfd(std::string_view text);
std::string to_nfc(std::string_view text);

}  // namespace sparing
