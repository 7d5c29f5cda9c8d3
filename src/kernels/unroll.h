#pragma once
// Loops over registers must disappear: GCC and Clang spell it differently.
#if defined(__clang__)
#define SPARING_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SPARING_UNROLL _Pragma("GCC unroll 16")
#endif
