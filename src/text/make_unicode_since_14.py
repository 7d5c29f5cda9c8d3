#!/usr/bin/env python3
"""Writes unicode_since_14.inc: characters that PCRE2 10.42 (Unicode 14) does not know and Oniguruma in the PyPI package
`tokenizers` does, by general category. Run under a Python whose unicodedata is Unicode 14 (3.11):
    python3 make_unicode_since_14.py > unicode_since_14.inc
"""
import unicodedata

import tokenizers
from tokenizers import Regex, pre_tokenizers

assert unicodedata.unidata_version == "14.0.0"
CATEGORIES = ["Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So"]
new = [c for c in range(0x110000) if unicodedata.category(chr(c)) == "Cn"]


def members(category):
    split = pre_tokenizers.Split(Regex(rf"\p{{{category}}}"), "removed", invert=True)
    found = set()
    for i in range(0, len(new), 4096):
        for piece, _ in split.pre_tokenize_str("".join(map(chr, new[i:i + 4096]))):
            found.update(map(ord, piece))
    return sorted(found)


print(f"// Made by make_unicode_since_14.py from tokenizers {tokenizers.__version__}. Category, first, last.")
line = ""
for category in CATEGORIES:
    runs = []
    for c in members(category):
        if runs and runs[-1][1] == c - 1:
            runs[-1][1] = c
        else:
            runs.append([c, c])
    for a, b in runs:
        item = f'{{"{category}", 0x{a:X}, 0x{b:X}}},'
        if len(line) + len(item) > 119:
            print(line.rstrip())
            line = ""
        line += item + " "
print(line.rstrip())
