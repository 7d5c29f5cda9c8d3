#!/usr/bin/env python3
"""Golden files for src/formats: tiny models as transformers, safetensors and gguf-py themselves write them.

Writes formats/: hf/ (sharded safetensors, config.json, generation_config.json), m.gguf (F16, F32 and Q8_0 tensors),
configs.json (config.json of several models as transformers saves them) and expected.json (what must be read).
Needs torch, transformers, safetensors, gguf, numpy.
"""
import json
import pathlib
import shutil
import tempfile

import gguf
import numpy as np
import torch
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

OUT = pathlib.Path(__file__).parent / "formats"
BASE = dict(vocab_size=12, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
NAMES = {"embed_tokens.weight": "embed", "lm_head.weight": "head", "input_layernorm.weight": "attn_norm",
         "post_attention_layernorm.weight": "mlp_norm", "self_attn.": "attn.", "_proj.weight": "", "_proj.bias": ".bias",
         "norm.weight": "norm"}
GGUF = {"embed": "token_embd", "head": "output", "layers.": "blk.", "mlp_norm": "ffn_norm",
        "attn.q": "attn_q", "attn.k": "attn_k", "attn.v": "attn_v", "attn.o": "attn_output", "mlp.": "ffn_"}


def rename(name, table):
    name = name.removeprefix("model.")
    for old, new in table.items():
        name = name.replace(old, new)
    return name


def digest(array):
    a = np.asarray(array, dtype=np.float64).ravel()
    return {"count": a.size, "sum": a.sum(), "weighted": (a * (1 + np.arange(a.size) % 97)).sum()}


def interleave(w, heads):
    """The row order of llama's q and k in GGUF (convert_hf_to_gguf)."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def write_gguf(model, tensors, path):
    expected = {}
    writer = gguf.GGUFWriter(path, "llama")
    c = model.config
    writer.add_name("golden")
    writer.add_block_count(c.num_hidden_layers)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_feed_forward_length([c.intermediate_size] * c.num_hidden_layers)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_rope_freq_base(500000.0)
    writer.add_rope_dimension_count(c.hidden_size // c.num_attention_heads)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{i}" for i in range(12)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_tensor("rope_freqs.weight", np.array([1, 1.5, 4, 8], dtype=np.float32))
    for name, w in tensors.items():
        kind = gguf.GGMLQuantizationType.F32
        if w.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0 if "mlp" in name or name.endswith("k") else gguf.GGMLQuantizationType.F16
        stored = w
        if name.endswith("attn.q"):
            stored = interleave(w, c.num_attention_heads)
        if name.endswith("attn.k"):
            stored = interleave(w, c.num_key_value_heads)
        blocks = gguf.quants.quantize(stored, kind)
        writer.add_tensor(("output_norm" if name == "norm" else rename(name, GGUF)) + ".weight", blocks, raw_dtype=kind)
        # Q8_0's blocks lie along rows, so quantising commutes with the order of rows.
        expected[name] = digest(gguf.quants.dequantize(gguf.quants.quantize(w, kind), kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(**BASE, tie_word_embeddings=False, rope_parameters=LLAMA3)).half()
    model.generation_config.eos_token_id = [2, 5]
    model.save_pretrained(OUT / "hf", max_shard_size="20KB")
    tensors = {rename(k, NAMES): v.float().numpy() for k, v in model.state_dict().items()}
    expected = {"hf": {k: digest(v) for k, v in tensors.items()}, "gguf": write_gguf(model, tensors, OUT / "m.gguf")}
    (OUT / "expected.json").write_text(json.dumps(expected, indent=0) + "\n")

    configs = {}
    for name, kind, config in (
            ("llama3", LlamaForCausalLM, LlamaConfig(**BASE, rope_parameters=LLAMA3)),
            ("linear", LlamaForCausalLM, LlamaConfig(**BASE, attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
                                                     rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0})),
            ("mistral", MistralForCausalLM, MistralConfig(**BASE, sliding_window=16, head_dim=16)),
            ("qwen2", Qwen2ForCausalLM, Qwen2Config(**BASE, tie_word_embeddings=True)),
            ("qwen2_window", Qwen2ForCausalLM, Qwen2Config(**BASE, use_sliding_window=True, sliding_window=16, max_window_layers=0)),
            ("qwen3", Qwen3ForCausalLM, Qwen3Config(**BASE, head_dim=16))):
        with tempfile.TemporaryDirectory() as folder:
            kind(config).save_pretrained(folder)
            configs[name] = json.loads((pathlib.Path(folder) / "config.json").read_text())
    (OUT / "configs.json").write_text(json.dumps(configs, indent=1) + "\n")


if __name__ == "__main__":
    main()
