"""What convert writes: llama.cpp runs the GGUF and transformers the directory, both with the perplexity that eval finds. A
compressed model's GGUF holds its very values, as the gguf package reads them."""
import pathlib
import tempfile

import gguf
import numpy as np
import torch
from oracle_support import DATA, MODELS, SPARING, check, need, run, sparing_json, tokens
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

CTX, WINDOWS = 512, 4
model, text = need(MODELS / 'smollm2.gguf'), need(DATA / 'wikitext-2-raw/wiki.test.raw')


def perplexity(logits_of, ids):
    """llama.cpp's, for a model that asks for no BOS: in windows of CTX, the second half scored."""
    total = count = 0
    for i in range(WINDOWS):
        part = np.array(ids[i * CTX:(i + 1) * CTX], dtype=np.int64)
        x = torch.log_softmax(torch.tensor(logits_of(part), dtype=torch.float64), dim=-1)
        for t in range(CTX // 2, CTX - 1):
            total -= float(x[t, part[t + 1]])
            count += 1
    return float(np.exp(total / count))


def llama_cpp(path):
    import llama_cpp
    defaults = llama_cpp.llama_model_default_params

    def plain_buffers():
        # Its repacked (AMX) buffers crash on some virtual machines, with its own files too.
        parameters = defaults()
        parameters.use_extra_bufts = False
        return parameters
    llama_cpp.llama_cpp.llama_model_default_params = plain_buffers
    llm = llama_cpp.Llama(str(path), n_ctx=CTX, n_batch=CTX, logits_all=True, verbose=False)

    def logits_of(part):
        llm.reset()
        llm.eval([int(t) for t in part])
        return np.array(llm.scores[:CTX])
    return logits_of


def transformers(path):
    reference = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    own = AutoTokenizer.from_pretrained(path)
    sample = text.read_text()[:20000]
    if own.encode(sample, add_special_tokens=False) != tokens(model, sample.encode()).tolist():
        raise SystemExit(f'DIFFERS: the tokenizer that transformers loads from {path}')

    def logits_of(part):
        with torch.no_grad():
            return reference(torch.tensor(part[None])).logits[0].numpy()
    return logits_of


ids = tokens(model, text.read_bytes()[:CTX * WINDOWS * 8])
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    for kind, dtype, name, limit in (('gguf', 'f16', 'f16.gguf', 0.02), ('gguf', 'q8_0', 'q8.gguf', 0.1), ('hf', 'f16', 'hf', 0.02)):
        out = folder / name
        run(SPARING, 'convert', model, '--to', kind, '--dtype', dtype, '--out', out)
        ours = sparing_json('eval', out, '--text', text, '--ctx', CTX, '--chunks', WINDOWS, '--no-speed')['ppl']
        theirs = perplexity((transformers if kind == 'hf' else llama_cpp)(out), ids)
        check(f'{kind} {dtype}: perplexity {theirs:.4f} there, {ours:.4f} here', abs(theirs - ours), limit)

    # What compress emits, in the types that hold it exactly.
    def interleaved(rows, heads):
        """q and k as GGUF has their rows."""
        return rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)

    for name, parameters, expected in (('symmetric', ['--param', 'symmetric=true'], 'Q4_0'), ('zero', [], 'Q5_0'), ('minimum', ['--param', 'zero=min'], 'Q4_1')):
        small, out, plain = folder / name, folder / f'{name}.gguf', folder / f'{name}-hf'
        run(SPARING, 'compress', model, '--method', 'rtn', '--bits', 4, '--group', 32, *parameters, '--site', 'embed:symmetric=true', '--out', small)
        report = sparing_json('convert', small, '--to', 'gguf', '--out', out)
        run(SPARING, 'convert', small, '--to', 'hf', '--dtype', 'f32', '--out', plain)
        if not all(t['exact'] for t in report['tensors']):
            raise SystemExit(f'DIFFERS: {name}: a tensor is not exact')
        if not any(t['type'] == expected for t in report['tensors']):
            raise SystemExit(f'DIFFERS: {name}: no tensor is {expected}')
        ours = {t['tensor']: t for t in report['tensors']}
        reader, want = gguf.GGUFReader(str(out)), load_file(plain / 'model.safetensors')
        heads, kv = (int(reader.fields[f'llama.attention.{key}'].contents()) for key in ('head_count', 'head_count_kv'))
        parts = {'attn_q': 'self_attn.q_proj', 'attn_k': 'self_attn.k_proj', 'attn_v': 'self_attn.v_proj', 'attn_output': 'self_attn.o_proj',
                 'ffn_gate': 'mlp.gate_proj', 'ffn_up': 'mlp.up_proj', 'ffn_down': 'mlp.down_proj', 'attn_norm': 'input_layernorm', 'ffn_norm': 'post_attention_layernorm'}
        compared = 0
        for tensor in reader.tensors:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            if tensor.name == 'token_embd.weight':
                truth = want['model.embed_tokens.weight']
            elif tensor.name == 'output_norm.weight':
                truth = want['model.norm.weight']
            else:
                _, layer, part, _ = tensor.name.split('.')
                truth = want[f'model.layers.{layer}.{parts[part]}.weight']
                if part in ('attn_q', 'attn_k'):
                    truth = interleaved(truth, heads if part == 'attn_q' else kv)
            if not np.array_equal(values.reshape(truth.shape), truth):
                raise SystemExit(f'DIFFERS: {name}: {tensor.name} in GGUF')
            compared += 1
        print(f'same: {compared} tensors of {out.name} ({len(ours)} reported)')
        mine = sparing_json('eval', small, '--text', text, '--ctx', CTX, '--chunks', WINDOWS, '--no-speed')['ppl']
        theirs = perplexity(llama_cpp(out), ids)
        check(f'{name}: perplexity {theirs:.4f} in llama.cpp, {mine:.4f} here', abs(theirs - mine), 0.02 * mine)
