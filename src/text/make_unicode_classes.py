#!/usr/bin/env python3
"""Writes unicode_classes.inc: the character classes that the PyPI package `tokenizers` uses, asked of it.

Its regular expressions (Oniguruma) and its Rust code know different versions of Unicode, both newer than those of
PCRE2 10.42 and of Python's unicodedata, so the package itself is the only source. Run where `tokenizers` is installed:
    python3 make_unicode_classes.py > unicode_classes.inc
"""
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def regex_class(pattern):
    """Code points that Oniguruma puts into a class."""
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    found = set()
    for i in range(0, len(POINTS), 4096):
        text = "".join(map(chr, POINTS[i:i + 4096]))
        for piece, _ in split.pre_tokenize_str(text):
            found.update(map(ord, piece))
    return found


def rust_numeric():
    """char::is_numeric, as the Digits pre-tokeniser uses it."""
    digits = pre_tokenizers.Digits(individual_digits=True)
    return {c for c in POINTS if len(digits.pre_tokenize_str("a" + chr(c) + "a")) == 3}


def rust_word():
    """\\w of Rust's regex crate, which decides whether a single_word added token stands alone."""
    t = Tokenizer(models.BPE({"X": 0}, []))
    t.add_tokens([AddedToken("X", single_word=True, normalized=False)])
    t.model = models.BPE({"\x00\x00": 0}, [])
    found = set()
    for i in range(0, len(POINTS), 65536):
        part = POINTS[i:i + 65536]
        for c, e in zip(part, t.encode_batch_fast([chr(c) + "X" for c in part], add_special_tokens=False)):
            if not e.ids:
                found.add(c)
    return found


def main():
    classes = [regex_class(r"\p{L}"), regex_class(r"\p{N}"), regex_class(r"\s"), rust_numeric(), rust_word()]
    print(f"// Made by make_unicode_classes.py from tokenizers {tokenizers.__version__}. First code point of a run, its classes:")
    print("// 1 letter, 2 number, 4 white space (Oniguruma); 8 number, 16 word (Rust).")
    previous, line = 0, ""
    for c in range(0x110000):
        bits = sum(1 << i for i, s in enumerate(classes) if c in s)
        if bits != previous:
            item = f"{{0x{c:X}, {bits}}},"
            if len(line) + len(item) > 119:
                print(line.rstrip())
                line = ""
            line += item + " "
            previous = bits
    print(line.rstrip())


main()
