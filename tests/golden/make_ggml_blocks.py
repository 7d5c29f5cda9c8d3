#!/usr/bin/env python3
"""Golden values for ggml's block types: random blocks and what the `gguf` package (PyPI) decodes them to.

Usage: make_ggml_blocks.py > ggml_blocks.txt        (needs numpy and gguf)
One line a case: KIND TYPE HEX_BLOCKS HEX_F32, kind "decode" (blocks -> f32) or "encode" (f32 -> blocks).
"""
import gguf
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T

# Byte offsets of the f16 fields in a block; everything else may be any bits.
F16_FIELDS = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
              T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0]}


def main() -> None:
    rng = np.random.default_rng(20240601)
    for qtype, fields in F16_FIELDS.items():
        weights, size = GGML_QUANT_SIZES[qtype]
        blocks = rng.integers(0, 256, (256 // weights if weights < 256 else 1, size), dtype=np.uint8)
        for field in fields:
            halves = (rng.standard_normal(len(blocks)) * 10.0 ** rng.uniform(-6, 2, len(blocks))).astype(np.float16)
            blocks[:, field:field + 2] = halves.view(np.uint8).reshape(-1, 2)
        values = gguf.quants.dequantize(blocks, qtype).astype(np.float32)
        print("decode", qtype.name, blocks.tobytes().hex(), values.tobytes().hex())
    floats = (rng.standard_normal(128) * 10.0 ** rng.uniform(-3, 2, 128)).astype(np.float32)
    floats[32:64] = np.round(floats[32:64] * 2) / 2  # ties
    floats[64:96] = 0
    for qtype in (T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1):
        blocks = gguf.quants.quantize(floats.reshape(1, -1), qtype)
        print("encode", qtype.name, blocks.tobytes().hex(), floats.tobytes().hex())
        values = gguf.quants.dequantize(blocks, qtype).astype(np.float32)
        print("decode", qtype.name, blocks.tobytes().hex(), values.tobytes().hex())


if __name__ == "__main__":
    main()
