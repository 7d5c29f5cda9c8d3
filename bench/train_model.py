#!/usr/bin/env python3
"""Trains a small Llama on bytes of text and writes it as a Hugging Face directory: a model that nobody tuned anything on.

    bench/train_model.py OUT --text FILE [--text FILE]... [--layers 6 --hidden 192 --ffn 512 --heads 6 --kv-heads 3] [--steps 600] [--seed 1]

2.5 million parameters by default, some minutes on 2 cores. Needs PyPI's torch and transformers.
"""
import argparse
import json
import math
from pathlib import Path

from random_model import byte_tokenizer

VOCAB, CONTEXT = 260, 512


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path)
    parser.add_argument('--text', type=Path, action='append', required=True)
    for name, value in (('layers', 6), ('hidden', 192), ('ffn', 512), ('heads', 6), ('kv-heads', 3), ('steps', 600), ('batch', 16), ('length', 256), ('seed', 1)):
        parser.add_argument(f'--{name}', type=int, default=value)
    options = parser.parse_args()
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(options.seed)
    text = torch.tensor(list(b'\n'.join(path.read_bytes() for path in options.text)))
    config = LlamaConfig(vocab_size=VOCAB, hidden_size=options.hidden, intermediate_size=options.ffn, num_hidden_layers=options.layers,
                         num_attention_heads=options.heads, num_key_value_heads=options.kv_heads, max_position_embeddings=CONTEXT,
                         bos_token_id=VOCAB - 2, eos_token_id=VOCAB - 1, tie_word_embeddings=True)
    model = LlamaForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1)
    for step in range(options.steps):
        rate = min(1, (step + 1) / 50) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / options.steps)))
        for group in optimiser.param_groups:
            group['lr'] = 2e-3 * rate
        starts = torch.randint(len(text) - options.length, (options.batch,))
        batch = torch.stack([text[s:s + options.length] for s in starts.tolist()])
        loss = model(input_ids=batch, labels=batch).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 50 == 0 or step + 1 == options.steps:
            print(f'step {step}: {loss.item():.3f} nats a byte', flush=True)
    model.half().save_pretrained(options.out)
    (options.out / 'tokenizer.json').write_text(json.dumps(byte_tokenizer(VOCAB)))


if __name__ == '__main__':
    main()
