"""SmolLM2's logits from its GGUF, in f32, against transformers on the same weights dequantised."""
import numpy as np
import torch
from gguf_reference import load
from oracle_support import MODELS, check, logits, need, tokens

model = need(MODELS / 'smollm2.gguf')
ids = tokens(model, 'The moon pulls the sea, twice a day, and the sea answers. Why? Because '.encode() * 6)
reference = load(model)
with torch.no_grad():
    want = reference(torch.tensor(ids[None].astype(np.int64))).logits[0].numpy()
have = logits(model, ids)
check(f'largest difference over {len(ids)} tokens', float(np.abs(have - want).max()), 2e-3)
