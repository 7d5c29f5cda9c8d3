"""What convert writes: llama.cpp runs the GGUF and transformers the directory, both with the perplexity that eval finds."""
import pathlib
import tempfile

import numpy as np
import torch
from oracle_support import DATA, MODELS, SPARING, check, need, run, sparing_json, tokens
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
