#!/usr/bin/env python3
"""Writes a Llama with random weights as a Hugging Face directory, for speed and memory measurements on sizes that nobody ships here.

    bench/random_model.py OUT [--layers 22 --hidden 2048 --ffn 5632 --heads 32 --kv-heads 4 --vocab 32000]

The default is the shape of a 1.1 B-parameter Llama (2.2 GB in BF16). Weights are normal with standard deviation 0.02, drawn once as a block of
a million values and laid down at seeded offsets: fine for timing, meaningless as a model. The tokenizer is bytes.
"""
import argparse
import array
import json
import random
import struct
from pathlib import Path


def bf16_block(seed, count=1 << 20):
    draw = random.Random(seed)
    floats = array.array('f', (draw.gauss(0, 0.02) for _ in range(count)))
    words = array.array('H')
    words.frombytes(floats.tobytes())
    return words[1::2].tobytes()


def byte_tokenizer(vocab):
    printable = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255]
    letters, extra = {}, 0
    for b in range(256):
        if b in printable:
            letters[b] = chr(b)
        else:
            letters[b] = chr(256 + extra)
            extra += 1
    table = {letters[b]: b for b in range(256)}
    table.update({f'<unused{i}>': i for i in range(256, vocab - 2)})
    special = [{'id': i, 'content': c, 'single_word': False, 'lstrip': False, 'rstrip': False, 'normalized': False, 'special': True}
               for i, c in ((vocab - 2, '<s>'), (vocab - 1, '</s>'))]
    byte_level = {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': True, 'use_regex': True}
    return {'version': '1.0', 'truncation': None, 'padding': None, 'added_tokens': special, 'normalizer': None, 'pre_tokenizer': byte_level,
            'post_processor': None, 'decoder': byte_level,
            'model': {'type': 'BPE', 'dropout': None, 'unk_token': None, 'continuing_subword_prefix': None, 'end_of_word_suffix': None,
                      'fuse_unk': False, 'byte_fallback': False, 'ignore_merges': False, 'vocab': table, 'merges': []}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path)
    for name, default in (('layers', 22), ('hidden', 2048), ('ffn', 5632), ('heads', 32), ('kv-heads', 4), ('vocab', 32000), ('context', 2048), ('seed', 1)):
        parser.add_argument('--' + name, type=int, default=default)
    o = parser.parse_args()
    head = o.hidden // o.heads
    shapes = {'model.embed_tokens.weight': [o.vocab, o.hidden], 'model.norm.weight': [o.hidden], 'lm_head.weight': [o.vocab, o.hidden]}
    for i in range(o.layers):
        p = f'model.layers.{i}.'
        shapes |= {p + 'input_layernorm.weight': [o.hidden], p + 'post_attention_layernorm.weight': [o.hidden],
                   p + 'self_attn.q_proj.weight': [o.hidden, o.hidden], p + 'self_attn.k_proj.weight': [o.kv_heads * head, o.hidden],
                   p + 'self_attn.v_proj.weight': [o.kv_heads * head, o.hidden], p + 'self_attn.o_proj.weight': [o.hidden, o.hidden],
                   p + 'mlp.gate_proj.weight': [o.ffn, o.hidden], p + 'mlp.up_proj.weight': [o.ffn, o.hidden],
                   p + 'mlp.down_proj.weight': [o.hidden, o.ffn]}
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2
        for n in shape:
            size *= n
        header[name] = {'dtype': 'BF16', 'shape': shape, 'data_offsets': [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    block, draw = bf16_block(o.seed), random.Random(o.seed)
    ones = b'\x80\x3f'
    o.out.mkdir(parents=True)
    with open(o.out / 'model.safetensors', 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text)
        for name, entry in header.items():
            left = entry['data_offsets'][1] - entry['data_offsets'][0]
            if len(entry['shape']) == 1:
                f.write(ones * (left // 2))
                continue
            while left > 0:
                start = 2 * draw.randrange(len(block) // 4)
                part = block[start:start + left]
                f.write(part)
                left -= len(part)
    config = {'architectures': ['LlamaForCausalLM'], 'model_type': 'llama', 'hidden_size': o.hidden, 'intermediate_size': o.ffn,
              'num_hidden_layers': o.layers, 'num_attention_heads': o.heads, 'num_key_value_heads': o.kv_heads, 'head_dim': head,
              'vocab_size': o.vocab, 'max_position_embeddings': o.context, 'rms_norm_eps': 1e-5, 'rope_theta': 10000.0, 'hidden_act': 'silu',
              'tie_word_embeddings': False, 'attention_bias': False, 'mlp_bias': False, 'bos_token_id': o.vocab - 2, 'eos_token_id': o.vocab - 1,
              'torch_dtype': 'bfloat16'}
    (o.out / 'config.json').write_text(json.dumps(config, indent=1))
    (o.out / 'tokenizer.json').write_text(json.dumps(byte_tokenizer(o.vocab), ensure_ascii=False))


if __name__ == '__main__':
    main()
