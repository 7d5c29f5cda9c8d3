#!/usr/bin/env python3
"""Writes tests/golden/packed: tiny Llama directories whose weights were packed by the toolkits' own code, and expected.json,
the SHA-256 of each weight's values (f32, row-major) as those toolkits mean them.

    make_packed.py GPTQMODEL_SOURCE AUTOAWQ_SOURCE     (unpacked source archives of the PyPI packages gptqmodel and autoawq)

Needs torch, numpy, safetensors and the PyPI package compressed-tensors. The packers of gptqmodel and autoawq are taken out of
their source by name, because importing either package wants a GPU's libraries.
"""
import ast
import contextlib
import hashlib
import json
import math
import pathlib
import sys
import types

import numpy as np
import torch
from compressed_tensors.compressors import pack_quantized as _  # noqa: F401: fails early where the package has moved on
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent / 'packed'
GPTQ, AWQ = (pathlib.Path(p) for p in sys.argv[1:3])
HIDDEN, FFN, KV, VOCAB = 64, 96, 32, 40
LINEARS = {'self_attn.q_proj': (HIDDEN, HIDDEN), 'self_attn.k_proj': (KV, HIDDEN), 'self_attn.v_proj': (KV, HIDDEN), 'self_attn.o_proj': (HIDDEN, HIDDEN),
           'mlp.gate_proj': (FFN, HIDDEN), 'mlp.up_proj': (FFN, HIDDEN), 'mlp.down_proj': (HIDDEN, FFN)}


def function_of(path, name, namespace):
    """One function or method of a source file, compiled by itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            node.decorator_list = []
            node.returns = None
            for argument in node.args.args:
                argument.annotation = None
            exec(compile(ast.Module([node], []), str(path), 'exec'), namespace)
            return namespace[name]
    raise SystemExit(f'{path}: no function {name}')


pack_gptq = function_of(next(GPTQ.rglob('nn_modules/qlinear/__init__.py')), 'pack_original', {
    't': torch, 'np': np, 'math': math, 'nn': torch.nn, '_ConvNd': torch.nn.modules.conv._ConvNd,
    'THREADPOOLCTL': types.SimpleNamespace(threadpool_limits=lambda n: contextlib.nullcontext()),
    'transformers': types.SimpleNamespace(pytorch_utils=types.SimpleNamespace(Conv1D=type(None)))})
pack_awq = function_of(next(AWQ.rglob('awq/modules/linear/gemm.py')), 'from_linear', {'torch': torch, 'get_best_device': lambda: 'cpu'})


class Module(types.SimpleNamespace):
    def register_buffer(self, name, value):
        setattr(self, name, value)


def grid(rng, rows, cols, bits, group, symmetric):
    """Codes, scales that f16 holds, zeros from 1 up, and the values they mean."""
    groups = math.ceil(cols / group)
    codes = torch.from_numpy(rng.integers(0, 2 ** bits, (rows, cols)))
    scales = torch.from_numpy((rng.uniform(0.5, 2, (rows, groups)) * 0.01).astype(np.float16)).float()
    zeros = torch.full((rows, groups), 2 ** (bits - 1)) if symmetric else torch.from_numpy(rng.integers(1, 2 ** bits, (rows, groups)))
    return codes, scales, zeros


def values(codes, scales, zeros, index):
    return scales[:, index] * (codes - zeros[:, index]).float()


def gptq(name, rng, rows, cols, bits, group, symmetric, shuffled, first_format):
    codes, scales, zeros = grid(rng, rows, cols, bits, group, symmetric)
    index = torch.arange(cols) // group
    if shuffled:
        index = index[torch.from_numpy(rng.permutation(cols))]
    weight = values(codes, scales, zeros, index)
    linear = torch.nn.Linear(cols, rows, bias=False)
    linear.weight.data = weight
    module = Module(bits=bits, maxq=2 ** bits - 1, pack_dtype_bits=32, pack_factor=32 // bits, pack_np_math_dtype=np.uint32, pack_np_dtype=np.int32,
                    planar=False, g_idx=index.to(torch.int32), bias=None)
    pack_gptq(module, linear, scales, zeros, index.to(torch.int32))
    if first_format:  # what gptqmodel subtracts when it saves its first format, for widths that divide 32
        one = sum(1 << (bits * i) for i in range(32 // bits))
        module.qzeros = torch.from_numpy((module.qzeros.numpy().view(np.uint32) - np.uint32(one)).view(np.int32))
    return weight, {'qweight': module.qweight, 'qzeros': module.qzeros, 'scales': module.scales, 'g_idx': module.g_idx}


def awq(name, rng, rows, cols, group):
    codes, scales, zeros = grid(rng, rows, cols, 4, group, False)
    weight = values(codes, scales, zeros, torch.arange(cols) // group)
    linear = torch.nn.Linear(cols, rows, bias=False)
    linear.weight.data = weight
    made = pack_awq(lambda *a: Module(w_bit=4, in_features=cols, out_features=rows, bias=None), linear, 4, group, scales=scales.T.contiguous(),
                    zeros=zeros.T.contiguous())
    return weight, {'qweight': made.qweight, 'qzeros': made.qzeros, 'scales': made.scales}


def compressed(name, rng, rows, cols, bits, group, symmetric, shuffled, dtype=torch.float16):
    group = group or cols
    codes, scales, zeros = grid(rng, rows, cols, bits, group, symmetric)
    scales = scales.to(dtype).float()
    index = torch.arange(cols) // group
    if shuffled:
        index = index[torch.from_numpy(rng.permutation(cols))]
    middle = 2 ** (bits - 1)
    out = {'weight_packed': pack_to_int32((codes - middle).to(torch.int8), bits), 'weight_scale': scales.to(dtype), 'weight_shape': torch.tensor([rows, cols])}
    if not symmetric:
        out['weight_zero_point'] = pack_to_int32((zeros - middle).to(torch.int8), bits, packed_dim=0)
    if shuffled:
        out['weight_g_idx'] = index.to(torch.int32)
    return values(codes, scales, zeros, index), out


def scheme(bits, group, symmetric):
    weights = {'num_bits': bits, 'type': 'int', 'symmetric': symmetric, 'strategy': 'group' if group else 'channel'}
    if group:
        weights['group_size'] = group
    return {'quant_method': 'compressed-tensors', 'format': 'pack-quantized', 'ignore': ['lm_head'],
            'config_groups': {'group_0': {'targets': ['Linear'], 'weights': weights, 'input_activations': None}}}


def gptq_config(bits, group, symmetric, desc_act, form):
    return {'quant_method': 'gptq', 'bits': bits, 'group_size': group, 'sym': symmetric, 'desc_act': desc_act, 'checkpoint_format': form}


CASES = {
    'gptq-4': (gptq_config(4, 32, False, False, 'gptq'), lambda *a: gptq(*a, 4, 32, False, False, True)),
    'gptq-4-order': (gptq_config(4, 32, True, True, 'gptq'), lambda *a: gptq(*a, 4, 32, True, True, True)),
    'gptq-3-v2': (gptq_config(3, 32, False, True, 'gptq_v2'), lambda *a: gptq(*a, 3, 32, False, True, False)),
    'gptq-8': (gptq_config(8, 32, True, False, 'gptq'), lambda *a: gptq(*a, 8, 32, True, False, True)),
    'awq': ({'quant_method': 'awq', 'bits': 4, 'group_size': 32, 'zero_point': True, 'version': 'gemm'}, lambda *a: awq(*a, 32)),
    'compressed-4': (scheme(4, 32, True), lambda *a: compressed(*a, 4, 32, True, False, torch.bfloat16)),
    'compressed-4-order': (scheme(4, 32, False), lambda *a: compressed(*a, 4, 32, False, True)),
    'compressed-3-channel': (scheme(3, 0, False), lambda *a: compressed(*a, 3, 0, False, False)),
}

expected = {}
for case, (quantization, make) in CASES.items():
    rng = np.random.default_rng(len(case))
    tensors, digests = {}, {}
    for name, (rows, cols) in LINEARS.items():
        weight, packed = make(name, rng, rows, cols)
        digests[f'model.layers.0.{name}.weight'] = hashlib.sha256(weight.contiguous().numpy().astype('<f4').tobytes()).hexdigest()
        tensors.update({f'model.layers.0.{name}.{part}': value.contiguous() for part, value in packed.items()})
    for name, shape in (('model.embed_tokens', (VOCAB, HIDDEN)), ('model.norm', (HIDDEN,)), ('model.layers.0.input_layernorm', (HIDDEN,)),
                        ('model.layers.0.post_attention_layernorm', (HIDDEN,))):
        tensors[name + '.weight'] = torch.from_numpy(rng.standard_normal(shape).astype(np.float16))
    folder = HERE / case
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / 'model.safetensors', metadata={'format': 'pt'})
    config = {'model_type': 'llama', 'architectures': ['LlamaForCausalLM'], 'hidden_size': HIDDEN, 'intermediate_size': FFN, 'num_hidden_layers': 1,
              'num_attention_heads': 4, 'num_key_value_heads': 2, 'vocab_size': VOCAB, 'max_position_embeddings': 64, 'rms_norm_eps': 1e-5,
              'tie_word_embeddings': True, 'quantization_config': quantization}
    (folder / 'config.json').write_text(json.dumps(config, indent=1) + '\n')
    expected[case] = digests
(HERE / 'expected.json').write_text(json.dumps(expected, indent=1) + '\n')
