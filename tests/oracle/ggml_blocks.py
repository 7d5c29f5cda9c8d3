"""Every ggml type that Sparing reads, random blocks and all: decoded bit for bit as the package gguf does."""
import pathlib
import sys
import tempfile

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T, GGUFReader, GGUFWriter
from gguf.quants import dequantize
from gguf_reference import unpermuted
from oracle_support import MODELS, need, tensors, weight

HIDDEN, FFN, VOCAB = 256, 512, 32
TYPES = [T.F32, T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL, T.IQ4_XS]
# Where each type keeps its f16 scales; the other bytes of a block are free.
F16_AT = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2],
          T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0]}
CANONICAL = {'token_embd': 'embed', 'attn_q': 'attn.q', 'attn_k': 'attn.k', 'attn_v': 'attn.v', 'attn_output': 'attn.o',
             'ffn_gate': 'mlp.gate', 'ffn_up': 'mlp.up', 'ffn_down': 'mlp.down'}


def random_blocks(rng, kind, rows, cols):
    if kind == T.F32:
        return rng.standard_normal((rows, cols)).astype(np.float32)
    if kind in (T.F16, T.BF16):
        bits = rng.standard_normal((rows, cols)).astype(np.float32)
        return bits.astype(np.float16) if kind == T.F16 else (bits.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8).reshape(rows, -1)
    weights, size = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (rows * cols // weights, size), dtype=np.uint8)
    for at in F16_AT[kind]:
        scales = rng.standard_normal(len(blocks)).astype(np.float16)
        scales[::7] = np.float16(6e-8)  # subnormal
        blocks[:, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def write_model(path, rng, kind):
    out = GGUFWriter(path, 'llama')
    out.add_context_length(64); out.add_embedding_length(HIDDEN); out.add_block_count(1); out.add_feed_forward_length(FFN)
    out.add_head_count(4); out.add_head_count_kv(2); out.add_layer_norm_rms_eps(1e-5); out.add_rope_dimension_count(64)
    out.add_vocab_size(VOCAB)
    out.add_tokenizer_model('llama')
    out.add_token_list([b'<unk>', b'<s>', b'</s>'] + [b'%c' % (97 + i) for i in range(VOCAB - 3)])
    out.add_token_scores([0.0] * VOCAB); out.add_token_types([2, 3, 3] + [1] * (VOCAB - 3))
    out.add_bos_token_id(1); out.add_eos_token_id(2); out.add_unk_token_id(0)
    shapes = {'attn_q': (HIDDEN, HIDDEN), 'attn_k': (128, HIDDEN), 'attn_v': (128, HIDDEN), 'attn_output': (HIDDEN, HIDDEN),
              'ffn_gate': (FFN, HIDDEN), 'ffn_up': (FFN, HIDDEN), 'ffn_down': (HIDDEN, FFN)}
    shapes = {'token_embd': (VOCAB, HIDDEN)} | {f'blk.0.{k}': v for k, v in shapes.items()}
    for name, (rows, cols) in shapes.items():
        data = random_blocks(rng, kind, rows, cols)
        out.add_tensor(name + '.weight', data, raw_dtype=None if data.dtype in (np.float32, np.float16) else kind)
    for name in ('output_norm', 'blk.0.attn_norm', 'blk.0.ffn_norm'):
        out.add_tensor(name + '.weight', np.ones(HIDDEN, dtype=np.float32))
    out.write_header_to_file(); out.write_kv_data_to_file(); out.write_tensors_to_file(); out.close()


def canonical(name):
    parts = name.removesuffix('.weight').split('.')
    return CANONICAL[parts[0]] if len(parts) == 1 else f'layers.{parts[1]}.{CANONICAL[parts[2]]}'


def compare(path, heads, kv_heads, most=None):
    checked = 0
    for t in GGUFReader(path).tensors:
        if 'norm' in t.name or (most is not None and checked >= most):
            continue
        shape = tuple(int(x) for x in reversed(t.shape))
        want = np.asarray(dequantize(t.data, t.tensor_type), dtype=np.float32).reshape(shape)
        have = weight(path, canonical(t.name))
        want = unpermuted(t.name, want, heads, kv_heads)
        if not np.array_equal(have.view(np.uint32), want.view(np.uint32)) and not np.array_equal(have, want):
            bad = np.argwhere(have != want)
            sys.exit(f'DIFFERS: {path} {t.name}: {len(bad)} of {want.size} weights, first at {bad[0]}: '
                     f'{have[tuple(bad[0])]!r} instead of {want[tuple(bad[0])]!r}')
        checked += 1
    return checked


with tempfile.TemporaryDirectory() as folder:
    for kind in TYPES:
        path = pathlib.Path(folder) / f'{kind.name}.gguf'
        write_model(path, np.random.default_rng(int(kind)), kind)
        print(f'{kind.name}: {compare(path, 4, 2)} tensors equal ({tensors(path)["layers.0.mlp.down"][2]})')
print(f"smollm2.gguf: {compare(need(MODELS / 'smollm2.gguf'), 9, 3, most=24)} tensors equal")
