#!/usr/bin/env python3
"""Golden logits for src/runtime, from transformers in float32.

    python make_runtime_golden.py tiny                 -> runtime/{llama,mistral,qwen2,qwen3}.json
    python make_runtime_golden.py smollm2 MODEL.gguf   -> runtime/smollm2.json

Weights of the tiny models follow a formula that src/runtime/golden_test.cpp repeats, so none are committed.
Needs torch, transformers, gguf, numpy.
"""
import json
import pathlib
import sys

import gguf
import numpy as np
import torch
import transformers

OUT = pathlib.Path(__file__).parent / "runtime"
MASK = (1 << 64) - 1


def uniform(name, count):
    """count values in [0, 1) with 24 bits: splitmix64 of FNV-1a(name) + index."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & MASK
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def canonical(name):
    """Hugging Face's parameter name as Sparing's."""
    name = name.removeprefix("model.")
    for old, new in [
        ("embed_tokens.weight", "embed"), ("lm_head.weight", "head"), ("input_layernorm.weight", "attn_norm"),
        ("post_attention_layernorm.weight", "mlp_norm"), ("self_attn.", "attn."), ("_proj.weight", ""),
        ("_proj.bias", ".bias"), ("q_norm.weight", "q_norm"), ("k_norm.weight", "k_norm"), ("norm.weight", "norm"),
    ]:
        name = name.replace(old, new)
    return name


def value(name, shape):
    u = uniform(name, int(np.prod(shape))).reshape(shape)
    if len(shape) == 2:
        return (u - np.float32(0.5)) * np.float32(0.5)
    if name.endswith(".bias"):
        return u - np.float32(0.5)
    return u + np.float32(0.5)


def tokens_of(vocab, count):
    return [int(i) for i in (uniform("tokens", count) * np.float32(vocab)).astype(np.int64)]


def tiny():
    common = dict(hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                  intermediate_size=96, vocab_size=97, max_position_embeddings=128, rms_norm_eps=1e-5,
                  attn_implementation="eager", torch_dtype=torch.float32, bos_token_id=1, eos_token_id=2)
    plain = {"rope_type": "default", "rope_theta": 10000.0}
    llama3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
    models = {
        "llama": transformers.LlamaConfig(**common, rope_parameters=llama3, tie_word_embeddings=False,
                                          attention_bias=True, mlp_bias=True),
        "mistral": transformers.MistralConfig(**common, rope_parameters=plain, sliding_window=20, head_dim=24,
                                              tie_word_embeddings=False),
        "qwen2": transformers.Qwen2Config(**common, rope_parameters=plain, tie_word_embeddings=True),
        "qwen3": transformers.Qwen3Config(**common, rope_parameters={"rope_type": "linear", "factor": 4.0,
                                                                     "rope_theta": 10000.0},
                                          head_dim=40, tie_word_embeddings=True),
    }
    tokens = tokens_of(97, 90)
    positions = [0, 1, 19, 20, 63, 64, 89]
    for name, config in models.items():
        model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
        done = set()
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                parameter.copy_(torch.from_numpy(value(canonical(key), tuple(parameter.shape))))
                done.add(canonical(key))
            logits = model(torch.tensor([tokens])).logits[0]
        write(name, {"tokens": tokens, "positions": positions, "tensors": sorted(done),
                     "logits": rounded(logits[positions])})


def load_gguf(path):
    """A LlamaForCausalLM with the file's weights dequantised; q and k back in Hugging Face's row order."""
    reader = gguf.GGUFReader(path)

    def field(key):
        return reader.get_field("llama." + key).contents()

    heads, kv_heads = field("attention.head_count"), field("attention.head_count_kv")
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        hidden_size=field("embedding_length"), num_hidden_layers=field("block_count"), num_attention_heads=heads,
        num_key_value_heads=kv_heads, intermediate_size=field("feed_forward_length"),
        vocab_size=len(reader.get_field("tokenizer.ggml.tokens").data),
        max_position_embeddings=field("context_length"), rms_norm_eps=field("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": field("rope.freq_base")}, tie_word_embeddings=True,
        attn_implementation="eager")).float().eval()
    parameters = dict(model.named_parameters())
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        name = tensor.name
        for old, new in [("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("blk.", "model.layers."),
                         ("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm"),
                         ("attn_output", "self_attn.o_proj"), ("attn_", "self_attn."), ("ffn_", "mlp.")]:
            name = name.replace(old, new)
        for part in ("q", "k", "v"):
            name = name.replace(f"self_attn.{part}.", f"self_attn.{part}_proj.")
        for part in ("gate", "up", "down"):
            name = name.replace(f"mlp.{part}.", f"mlp.{part}_proj.")
        if "q_proj" in name or "k_proj" in name:
            n = heads if "q_proj" in name else kv_heads
            values = values.reshape(n, -1, 2, values.shape[-1]).swapaxes(1, 2).reshape(values.shape)
        with torch.no_grad():
            parameters.pop(name).copy_(torch.from_numpy(np.ascontiguousarray(values)))
    assert not parameters, parameters.keys()
    return model


def smollm2(path):
    path = pathlib.Path(path)
    model = load_gguf(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    text = (
        "The history of the lighthouse begins in 1782, when a group of merchants paid for a tower of stone on the "
        "northern cape. Ships had been lost there every winter, and the harbour master wrote that no captain would "
        "insure a cargo past October. The first lamp burned whale oil; the keeper climbed one hundred and twelve "
        "steps twice each night to trim the wick. In 1854 the oil was replaced by a rotating lens, and the light could "
        "be seen from twenty miles. def area(radius):\n    return 3.14159 * radius ** 2\n")
    tokens = tokenizer(text)["input_ids"]
    positions = [0, 1, 30, 63, 64, len(tokens) - 1]
    ids = list(range(0, model.config.vocab_size, 577))
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
        greedy = model.generate(torch.tensor([tokens[:40]]), max_new_tokens=24, do_sample=False)[0, 40:]
    write("smollm2", {"tokens": tokens, "positions": positions, "ids": ids,
                      "best": [int(i) for i in logits[positions].argmax(-1)],
                      "logits": rounded(logits[positions][:, ids]), "greedy": [int(i) for i in greedy]})


def rounded(rows):
    return [[float(f"{x:.7g}") for x in row] for row in rows.tolist()]


def write(name, content):
    OUT.mkdir(exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps(content) + "\n")
    print(f"{name}.json: {len(content['tokens'])} tokens")


if __name__ == "__main__":
    tiny() if sys.argv[1] == "tiny" else smollm2(sys.argv[2])
