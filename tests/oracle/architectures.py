"""Random tiny models of every architecture, saved by transformers: the runtime's logits against transformers' own in f32."""
import pathlib
import tempfile

import numpy as np
import torch
from oracle_support import check, logits
from transformers import (AutoModelForCausalLM, LlamaConfig, MistralConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen3Config)
from tokenizers import Tokenizer, models

BASE = dict(hidden_size=96, intermediate_size=176, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
            vocab_size=131, max_position_embeddings=256, bos_token_id=1, eos_token_id=2)
LLAMA3 = {'rope_type': 'llama3', 'rope_theta': 500000.0, 'factor': 8.0, 'low_freq_factor': 1.0, 'high_freq_factor': 4.0,
          'original_max_position_embeddings': 64}
CASES = {
    'llama, untied': LlamaConfig(**BASE, tie_word_embeddings=False),
    'llama, tied': LlamaConfig(**BASE, tie_word_embeddings=True),
    'llama, biases': LlamaConfig(**BASE, attention_bias=True, mlp_bias=True),
    'llama 3 rope': LlamaConfig(**BASE, rope_parameters=LLAMA3),
    'llama, linear rope': LlamaConfig(**BASE, rope_parameters={'rope_type': 'linear', 'rope_theta': 10000.0, 'factor': 4.0}),
    'llama, wide heads': LlamaConfig(**BASE, head_dim=32),
    'mistral': MistralConfig(**BASE, sliding_window=None),
    'mistral, window': MistralConfig(**BASE, sliding_window=17),
    'qwen2': Qwen2Config(**BASE, tie_word_embeddings=True),
    'qwen3': Qwen3Config(**BASE, head_dim=16),
}


def perturb(model):
    """Random norms and biases: at their initial ones and zeros they would prove nothing."""
    generator = torch.Generator().manual_seed(1)
    for name, p in model.named_parameters():
        if p.ndim == 1:
            p.data += 0.3 * torch.randn(p.shape, generator=generator)
        else:
            p.data *= 4


for name, config in CASES.items():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation='eager').float().eval()
    perturb(model)
    ids = torch.randint(3, BASE['vocab_size'], (1, 100), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        want = model(ids).logits[0].numpy()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        vocabulary = {f't{i}': i for i in range(BASE['vocab_size'])}
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
        PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
        have = logits(pathlib.Path(folder), ids[0].numpy())
    check(f'{name}: largest difference of {np.abs(want).max():.1f}', float(np.abs(have - want).max()), 1e-4)
