#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets safetensors, gguf and config: small valid files beside this script."""
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent


def save(target, name, data):
    folder = HERE / target
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)


def safetensors(tensors, metadata=None):
    header, blobs = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(blobs), len(blobs) + len(data)]}
        blobs += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + blobs


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def value(v):
    if isinstance(v, bool):
        return struct.pack("<IB", 7, v)
    if isinstance(v, int):
        return struct.pack("<II", 4, v)
    if isinstance(v, float):
        return struct.pack("<If", 6, v)
    if isinstance(v, str):
        return struct.pack("<I", 8) + text(v)
    if isinstance(v[0], str):
        return struct.pack("<IIQ", 9, 8, len(v)) + b"".join(text(s) for s in v)
    if isinstance(v[0], float):
        return struct.pack("<IIQ", 9, 6, len(v)) + struct.pack(f"<{len(v)}f", *v)
    return struct.pack("<IIQ", 9, 5, len(v)) + struct.pack(f"<{len(v)}i", *v)


BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 8: (32, 34), 12: (256, 144), 14: (256, 210), 20: (32, 18), 30: (1, 2)}


def gguf(arch, width, ffn, heads, kv_heads, kind, vocab=6, extra=(), head=None):
    if head:
        extra = [*extra, (f"{arch}.attention.key_length", head), (f"{arch}.attention.value_length", head)]
    head = head or width // heads
    pairs = {"general.architecture": arch, "general.name": "seed", f"{arch}.block_count": 1,
             f"{arch}.context_length": 16, f"{arch}.embedding_length": width, f"{arch}.feed_forward_length": ffn,
             f"{arch}.attention.head_count": [heads], f"{arch}.attention.head_count_kv": kv_heads,
             f"{arch}.attention.layer_norm_rms_epsilon": 1e-5, f"{arch}.rope.freq_base": 1e4,
             "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm",
             "tokenizer.ggml.tokens": ["a", "b", "ab", "<s>", "</s>", "c"], "tokenizer.ggml.merges": ["a b"],
             "tokenizer.ggml.scores": [0.0] * 6, "tokenizer.ggml.token_type": [1, 1, 1, 3, 3, 1],
             "tokenizer.ggml.bos_token_id": 3, "tokenizer.ggml.eos_token_id": 4,
             "tokenizer.ggml.add_bos_token": True, "tokenizer.chat_template": "{{ m }}", **dict(extra)}
    q, kv = heads * head, kv_heads * head
    tensors = [("token_embd.weight", [width, vocab], kind), ("output_norm.weight", [width], 0),
               ("blk.0.attn_norm.weight", [width], 0), ("blk.0.ffn_norm.weight", [width], 0),
               ("blk.0.attn_q.weight", [width, q], kind), ("blk.0.attn_k.weight", [width, kv], kind),
               ("blk.0.attn_v.weight", [width, kv], kind), ("blk.0.attn_output.weight", [q, width], kind),
               ("blk.0.ffn_gate.weight", [width, ffn], kind), ("blk.0.ffn_up.weight", [width, ffn], kind),
               ("blk.0.ffn_down.weight", [ffn, width], kind)]
    if arch == "qwen2":
        tensors += [(f"blk.0.attn_{x}.bias", [n], 0) for x, n in (("q", q), ("k", kv), ("v", kv))]
    if arch == "qwen3":
        tensors += [(f"blk.0.attn_{x}_norm.weight", [head], 0) for x in "qk"]
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    for key, v in pairs.items():
        out += text(key) + value(v)
    data = b""
    for name, shape, t in tensors:
        if shape[0] % BLOCKS[t][0]:
            t = 1
        out += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        out += struct.pack("<IQ", t, len(data))
        weights, size = BLOCKS[t]
        count = size
        for n in shape:
            count *= n
        data += bytes(i * 37 % 61 for i in range(count // weights))
        data += b"\0" * (-len(data) % 32)
    return out + b"\0" * (-len(out) % 32) + data


def llama2c(version, shared):
    width, ffn, layers, heads, kv, vocab, context = 8, 12, 1, 2, 1, 6, 4
    matrices = vocab * width + layers * (width * width * 2 + width * kv * 4 * 2 + 3 * width * ffn) + width * (2 * layers + 1)
    matrices += 0 if shared else vocab * width
    if version == 1:
        head = struct.pack("<II7iB", 0x616B3432, 1, width, ffn, layers, heads, kv, vocab, context, shared).ljust(256, b"\0")
    else:
        head = struct.pack("<7i", width, ffn, layers, heads, kv, vocab if shared else -vocab, context)
        matrices += context * 4
    return head + struct.pack(f"<{matrices}f", *(i % 7 / 8 for i in range(matrices)))


CONFIG = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
          "num_hidden_layers": 2, "intermediate_size": 96, "vocab_size": 40, "rms_norm_eps": 1e-5,
          "hidden_act": "silu", "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": [2, 3],
          "tie_word_embeddings": True, "rope_theta": 10000.0}

save("safetensors", "two", safetensors([("a", "F32", [2, 2], bytes(16)), ("b", "BF16", [3], bytes(6))], {"format": "pt"}))
save("safetensors", "empty", safetensors([]))
save("safetensors", "scalar", safetensors([("s", "I64", [], bytes(8)), ("none", "U8", [0, 5], b"")]))
for name, arch, kind in (("f32", "llama", 0), ("f16", "qwen3", 1), ("q4_0", "llama", 2), ("q8_0", "qwen2", 8),
                         ("iq4_nl", "llama", 20), ("bf16", "llama", 30)):
    save("gguf", name, gguf(arch, 32, 32, 2, 1, kind))
for name, kind in (("q4_k", 12), ("q6_k", 14)):
    save("gguf", name, gguf("llama", 256, 2, 2, 1, kind, head=2))
save("gguf", "linear", gguf("llama", 32, 8, 2, 2, 1, extra={"llama.rope.scaling.type": "linear",
                                                            "llama.rope.scaling.factor": 2.0}.items()))
for version in (0, 1):
    for shared in (False, True):
        save("gguf", f"llama2c_v{version}_{'shared' if shared else 'own'}", llama2c(version, shared))
for name, patch in {
    "llama": {},
    "llama3": {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                "original_max_position_embeddings": 8192}},
    "linear": {"rope_scaling": {"type": "linear", "factor": 2}},
    "parameters": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5}},
    "mistral": {"model_type": "mistral", "sliding_window": 4096},
    "qwen2": {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 32, "max_window_layers": 0},
    "qwen3": {"model_type": "qwen3", "head_dim": 32, "attention_bias": True, "layer_types": ["full_attention"] * 2},
    "sparing": {"quantization_config": {"quant_method": "sparing"}, "sparing_rope_divisors": [1, 1, 1, 1, 2, 2, 4, 8],
                "sparing_layers": [{"heads": 4, "kv_heads": 2, "ffn": 96}, {"heads": 2, "kv_heads": 1, "ffn": 5}],
                "sparing_features": {"qkv_bias": True, "o_bias": False, "mlp_bias": False, "qk_norm": True,
                                     "sliding_window": 7}},
}.items():
    save("config", name, json.dumps({**CONFIG, **patch}).encode())

DENSE = {"codec": "dense", "version": 1, "dtype": "F16"}
INTEGER = {"codec": "int_group", "version": 1, "bits": 4, "group": 32, "scale": "f16", "zero": "constant", "zero_offset": 8}
CSR = {"codec": "csr", "version": 1, "nonzeros": 2, "wide_index": False}
LOWRANK = {"codec": "lowrank", "version": 1, "rank": 2, "inner": {"bits": 4, "group": 16}, "outer": {"bits": 16}}
SIGNS = {**LOWRANK, "codec": "sign_lowrank"}
LUT = {"codec": "lut_group", "version": 1, "bits": 2, "group": 32, "scale": "f16", "table": [-1, 0, 0.5, 1]}
VQ = {"codec": "vq_additive", "version": 1, "vector": 4, "books": 2, "bits": 2, "group": 4, "scale": "f16"}
TERNARY = {"codec": "ternary_dict", "version": 1, "words": 3}
IDENTITY = {"transform": "identity", "version": 1}
PERMUTATION = {"transform": "permutation", "version": 1}
save("config", "manifest", json.dumps({
    "format": "sparing", "version": 1, "oldest_reader": 1, "codings": [DENSE, INTEGER, CSR, LUT, LOWRANK, VQ, TERNARY, SIGNS],
    "transforms": [PERMUTATION, {"transform": "hadamard", "version": 1, "block": 32}],
    "tensors": {"embed": {"shape": [40, 64], "terms": [1, 2], "sha256": "0" * 16},
                "layers.0.attn.q": {"shape": [64, 64], "terms": [3], "input": 1, "sha256": "a" * 16},
                "norm": {"shape": [64], "terms": [0], "sha256": "1" * 16}},
    "files": {"sparing-00001-of-00001.safetensors": "0" * 64}, "ledger": {"embedding": 4096},
    "recipe": {"method": "rtn"}, "provenance": {"source": "abc"}}).encode())


def record(rows, cols, transform, terms, blobs):
    head = json.dumps({"name": "embed", "rows": rows, "cols": cols, "input": transform, "terms": terms}).encode()
    head += b" " * (-(len(head) + 8) % 64)
    out = struct.pack("<Q", len(head)) + head
    for blob in blobs:
        out += blob + b"\0" * (-len(blob) % 64)
    return out


codes, scales = bytes(range(256)), struct.pack("<16H", *[0x3C00] * 3, *[0] * 13)
save("safetensors", "record_dense", record(2, 3, IDENTITY, [DENSE], [bytes(12)]))
save("safetensors", "record_int", record(3, 32, IDENTITY, [INTEGER], [codes + scales.ljust(64, b"\0")]))
save("safetensors", "record_permuted", record(2, 4, PERMUTATION, [DENSE], [struct.pack("<4H", 3, 2, 1, 0), bytes(16)]))
save("safetensors", "record_csr", record(2, 4, IDENTITY, [DENSE, CSR], [
    bytes(16), struct.pack("<3I", 0, 1, 2).ljust(64, b"\0") + struct.pack("<2H", 1, 3).ljust(64, b"\0") +
    struct.pack("<2H", 0x3C00, 0x4000).ljust(64, b"\0")]))
save("safetensors", "record_lowrank", record(2, 4, IDENTITY, [LOWRANK], [
    bytes(range(16)).ljust(64, b"\0") + struct.pack("<2H", 0x3C00, 0x4000).ljust(64, b"\0") +
    struct.pack("<32H", *[0x3C00] * 32)]))
save("safetensors", "record_vq", record(2, 4, IDENTITY, [VQ], [
    bytes([1, 0, 0, 0, 6, 0, 0, 0]).ljust(64, b"\0") + struct.pack("<2H", 0x3C00, 0x4000).ljust(64, b"\0") +
    bytes(range(32)).ljust(64, b"\0")]))
# Words 0 and 1 are two and four zeros.
save("safetensors", "record_ternary", record(2, 4, IDENTITY, [TERNARY], [
    struct.pack("<3I", 0, 1, 3).ljust(64, b"\0") + struct.pack("<4H", 0xBC00, 0x3C00, 0xC000, 0x4000).ljust(64, b"\0") +
    struct.pack("<3H", 1, 0, 0).ljust(64, b"\0")]))
save("safetensors", "record_sign_lowrank", record(2, 4, IDENTITY, [SIGNS], [
    struct.pack("<2H", 5, 10).ljust(64, b"\0") + bytes(range(16)).ljust(64, b"\0") +
    struct.pack("<2H", 0x3C00, 0x4000).ljust(64, b"\0") + struct.pack("<32H", *[0x3C00] * 32)]))
