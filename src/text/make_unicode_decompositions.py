#!/usr/bin/env python3
"""Writes unicode_decompositions.inc: canonical decompositions and combining classes as the PyPI package `tokenizers` has
them. Its normalizers keep to an older Unicode than Python's unicodedata; what Python knows is therefore taken only where
the package agrees. Run where `tokenizers` is installed:
    python3 make_unicode_decompositions.py > unicode_decompositions.inc
"""
import unicodedata

import tokenizers
from tokenizers import normalizers

POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF and not 0xAC00 <= c < 0xD7A4]
nfd, nfc = normalizers.NFD().normalize_str, normalizers.NFC().normalize_str


def combining_class(c):
    """Python's, if the package moves the mark past one of another class."""
    known = unicodedata.combining(chr(c))
    if known == 0:
        return 0
    before, after = ("\u0345", chr(c)) if known == 1 else (chr(c), "\u0334")
    return known if nfd("a" + before + after) != "a" + nfd(before) + nfd(after) else 0


def rows(items):
    line = ""
    for item in items:
        if len(line) + len(item) > 119:
            yield line.rstrip()
            line = ""
        line += item + " "
    yield line.rstrip()


def main():
    mappings = {}
    for c in POINTS:
        if nfd(chr(c)) != chr(c):
            parts = [int(p, 16) for p in unicodedata.decomposition(chr(c)).split()]
            assert 1 <= len(parts) <= 2, hex(c)
            mappings[c] = parts

    def full(c):
        return "".join(map(full, mappings[c])) if c in mappings else chr(c)

    assert all(full(c) == nfd(chr(c)) for c in mappings)
    print(f"// Made by make_unicode_decompositions.py from tokenizers {tokenizers.__version__}.")
    print("#ifdef SPARING_DECOMPOSITIONS  // code point, its one or two parts, whether the parts compose to it again")
    print("\n".join(rows(f"{{0x{c:X}, 0x{p[0]:X}, {f'0x{p[1]:X}' if len(p) == 2 else 0}, {int(nfc(chr(c)) == chr(c))}}}," for c, p in mappings.items())))
    print("#else  // first code point of a run, last, combining class")
    runs = []
    for c in POINTS:
        k = combining_class(c)
        if k and runs and runs[-1][1] == c - 1 and runs[-1][2] == k:
            runs[-1][1] = c
        elif k:
            runs.append([c, c, k])
    print("\n".join(rows(f"{{0x{a:X}, 0x{b:X}, {k}}}," for a, b, k in runs)))
    print("#endif")


main()
