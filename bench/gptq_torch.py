#!/usr/bin/env python3
"""GPTQ (arXiv:2210.17323) of a Llama in plain PyTorch, for the time it takes: what bench/gptq_time.py sets `sparing compress` beside.

    bench/gptq_torch.py HF_DIRECTORY [--bits 4 --group 64 --sequences 128 --length 512 --threads 2]

Block by block, as published: inputs' second moments of q, k and v; o; gate and up; down; each site coded in blocks of 128 columns with the
error fed into those that follow; then the block runs again with what was coded. The tokens are random: the time does not depend on them.
Beside its own time it prints that of matrix products alone (the linear layers and the attention, every query with every key, of one forward
pass, of which it makes two, the moments, the updates between blocks of columns), each shape measured in the same process. Needs Python's
torch and numpy, of whatever version.
"""
import argparse
import json
import time
from pathlib import Path

import numpy
import torch

BLOCK = 128
LINEAR = {'q': 'self_attn.q_proj', 'k': 'self_attn.k_proj', 'v': 'self_attn.v_proj', 'o': 'self_attn.o_proj', 'gate': 'mlp.gate_proj',
          'up': 'mlp.up_proj', 'down': 'mlp.down_proj'}
STAGES = (('q', 'k', 'v'), ('o',), ('gate', 'up'), ('down',))


class Tensors:
    """The tensors of a directory of safetensors in F16 or F32."""

    def __init__(self, folder):
        self.found = {}
        for path in sorted(folder.glob('*.safetensors')):
            data = numpy.memmap(path, dtype=numpy.uint8, mode='r')
            size = int(data[:8].view(numpy.uint64)[0])
            for name, entry in json.loads(bytes(data[8:8 + size])).items():
                if name != '__metadata__':
                    self.found[name] = (data, 8 + size, entry)

    def __getitem__(self, name):
        data, start, entry = self.found[name]
        first, last = entry['data_offsets']
        kind = {'F16': numpy.float16, 'F32': numpy.float32}[entry['dtype']]
        values = numpy.array(data[start + first:start + last]).view(kind)
        return torch.from_numpy(values.astype(numpy.float32)).reshape(entry['shape'])


def norm(x, weight, epsilon):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weight


class Block:
    def __init__(self, tensors, index, config):
        at = f'model.layers.{index}.'
        self.weight = {name: tensors[at + place + '.weight'] for name, place in LINEAR.items()}
        self.before_attention = tensors[at + 'input_layernorm.weight']
        self.before_mlp = tensors[at + 'post_attention_layernorm.weight']
        self.heads, self.kv_heads = config['num_attention_heads'], config['num_key_value_heads']
        self.epsilon = config['rms_norm_eps']

    def rotate(self, x, rotation):
        cosine, sine = rotation
        a, b = x.chunk(2, -1)
        return torch.cat((a * cosine - b * sine, b * cosine + a * sine), -1)

    def forward(self, x, rotation, see):
        """x [tokens of one sequence, hidden]; see(names, inputs) of each stage."""
        length = x.shape[0]
        normed = norm(x, self.before_attention, self.epsilon)
        see(STAGES[0], normed)
        q, k, v = (normed @ self.weight[name].t() for name in STAGES[0])
        q = self.rotate(q.reshape(length, self.heads, -1).transpose(0, 1), rotation)
        k = self.rotate(k.reshape(length, self.kv_heads, -1).transpose(0, 1), rotation)
        v = v.reshape(length, self.kv_heads, -1).transpose(0, 1)
        share = self.heads // self.kv_heads
        k, v = k.repeat_interleave(share, 0), v.repeat_interleave(share, 0)
        scores = (q @ k.transpose(1, 2)) / q.shape[-1] ** 0.5
        scores = scores.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), float('-inf'))
        mixed = (scores.softmax(-1) @ v).transpose(0, 1).reshape(length, -1)
        see(STAGES[1], mixed)
        x = x + mixed @ self.weight['o'].t()
        normed = norm(x, self.before_mlp, self.epsilon)
        see(STAGES[2], normed)
        gated = torch.nn.functional.silu(normed @ self.weight['gate'].t()) * (normed @ self.weight['up'].t())
        see(STAGES[3], gated)
        return x + gated @ self.weight['down'].t()


def code(weight, moment, bits, group):
    """The weight as codes of `bits` with a scale and a zero a group would give it back."""
    weight, cols = weight.clone(), weight.shape[1]
    dead = moment.diagonal() == 0
    moment = moment.clone()
    moment.diagonal()[dead] = 1
    weight[:, dead] = 0
    moment.diagonal().add_(0.01 * moment.diagonal().mean())
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(moment)), upper=True)
    coded, most = torch.empty_like(weight), 2 ** bits - 1
    for first in range(0, cols, BLOCK):
        last = min(first + BLOCK, cols)
        errors = torch.empty(weight.shape[0], last - first)
        for j in range(first, last):
            if j % group == 0:
                part = weight[:, j:j + group]
                low, high = part.min(1)[0].clamp(max=0), part.max(1)[0].clamp(min=0)
                scale = ((high - low) / most).clamp(min=1e-8)
                zero = (-low / scale).round()
            column = weight[:, j]
            value = scale * ((column / scale).round().add(zero).clamp(0, most) - zero)
            coded[:, j] = value
            error = (column - value) / upper[j, j]
            weight[:, j:last] -= error[:, None] * upper[j, j:last][None]
            errors[:, j - first] = error
        weight[:, last:] -= errors @ upper[first:last, last:]
    return coded


def timed_product(m, k, n, times=3, batch=()):
    a, b = torch.randn(*batch, m, k), torch.randn(*batch, k, n)
    a @ b
    took = []
    for _ in range(times):
        start = time.monotonic()
        a @ b
        took.append(time.monotonic() - start)
    return sorted(took)[times // 2]


def product_seconds(block, sequences, length):
    """Of one block's matrix products: linear layers and attention of one pass over the text, the moments, the updates."""
    total = {'pass': 0.0, 'attention': 0.0, 'moments': 0.0, 'updates': 0.0}
    head = block.weight['q'].shape[0] // block.heads
    for m, k, n in ((length, head, length), (length, length, head)):
        total['attention'] += sequences * timed_product(m, k, n, batch=(block.heads,))
    for names in STAGES:
        cols = block.weight[names[0]].shape[1]
        total['moments'] += sequences * timed_product(cols, length, cols)
        for name in names:
            rows = block.weight[name].shape[0]
            total['pass'] += sequences * timed_product(length, cols, rows)
            for last in range(BLOCK, cols, BLOCK):
                total['updates'] += timed_product(rows, BLOCK, cols - last)
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', type=Path)
    for name, default in (('bits', 4), ('group', 64), ('sequences', 128), ('length', 512), ('threads', 2), ('blocks', 0)):
        parser.add_argument('--' + name, type=int, default=default, help='0: all' if name == 'blocks' else None)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    torch.manual_seed(1)
    config = json.loads((o.model / 'config.json').read_text(encoding='utf-8'))
    tensors = Tensors(o.model)
    half = config['hidden_size'] // config['num_attention_heads'] // 2
    angles = torch.arange(o.length)[:, None] * config['rope_theta'] ** (-torch.arange(half) / half)
    rotation = angles.cos(), angles.sin()
    blocks = o.blocks or config['num_hidden_layers']
    spent = {'forward': 0.0, 'moments': 0.0, 'coding': 0.0}
    with torch.no_grad():
        start = time.monotonic()
        table = tensors['model.embed_tokens.weight']
        streams = [table[torch.randint(0, table.shape[0], (o.length,))] for _ in range(o.sequences)]
        for index in range(blocks):
            block, moments = Block(tensors, index, config), {}

            def see(names, inputs):
                begun = time.monotonic()
                moment = moments.setdefault(names, torch.zeros(inputs.shape[1], inputs.shape[1]))
                moment.addmm_(inputs.t(), inputs)
                spent['moments'] += time.monotonic() - begun

            begun = time.monotonic()
            for x in streams:
                block.forward(x, rotation, see)
            spent['forward'] += time.monotonic() - begun
            begun = time.monotonic()
            for names in STAGES:
                for name in names:
                    block.weight[name] = code(block.weight[name], moments[names], o.bits, o.group)
            spent['coding'] += time.monotonic() - begun
            begun = time.monotonic()
            streams = [block.forward(x, rotation, lambda names, inputs: None) for x in streams]
            spent['forward'] += time.monotonic() - begun
        seconds = time.monotonic() - start
        spent['forward'] -= spent['moments']
        products = product_seconds(Block(tensors, 0, config), o.sequences, o.length)
        spent['products'] = {name: blocks * each for name, each in products.items()}
    print(json.dumps({'torch': torch.__version__, 'threads': o.threads, 'blocks': blocks, 'of_blocks': config['num_hidden_layers'], 'seconds': seconds, **spent}))


if __name__ == '__main__':
    main()
