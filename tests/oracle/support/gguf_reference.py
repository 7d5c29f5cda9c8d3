"""A Llama-family GGUF as a transformers model in f32, by the package gguf's own decoding."""
import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from transformers import LlamaConfig, LlamaForCausalLM

NAMES = {'token_embd': 'model.embed_tokens', 'output_norm': 'model.norm', 'output': 'lm_head', 'attn_norm': 'input_layernorm',
         'ffn_norm': 'post_attention_layernorm', 'attn_q': 'self_attn.q_proj', 'attn_k': 'self_attn.k_proj',
         'attn_v': 'self_attn.v_proj', 'attn_output': 'self_attn.o_proj', 'ffn_gate': 'mlp.gate_proj', 'ffn_up': 'mlp.up_proj',
         'ffn_down': 'mlp.down_proj'}


def unpermuted(name, w, heads, kv_heads):
    """GGUF keeps q's and k's rotated pairs adjacent; Hugging Face, and so Sparing, in halves."""
    if '.attn_q.' not in name and '.attn_k.' not in name:
        return w
    n = heads if '.attn_q.' in name else kv_heads
    return w.reshape(n, w.shape[0] // n // 2, 2, -1).swapaxes(1, 2).reshape(w.shape)


def load(path):
    reader = GGUFReader(path)

    def field(key):
        return reader.fields['llama.' + key].contents()
    heads, kv_heads = field('attention.head_count'), field('attention.head_count_kv')
    state = {}
    for t in reader.tensors:
        values = np.asarray(dequantize(t.data, t.tensor_type), dtype=np.float32).reshape([int(x) for x in reversed(t.shape)])
        parts = t.name.removesuffix('.weight').split('.')
        name = NAMES[parts[-1]] if parts[0] != 'blk' else f'model.layers.{parts[1]}.{NAMES[parts[2]]}'
        state[name + '.weight'] = torch.tensor(unpermuted(t.name, values, heads, kv_heads))
    embedding = state['model.embed_tokens.weight']
    tied = 'lm_head.weight' not in state
    config = LlamaConfig(
        vocab_size=embedding.shape[0], hidden_size=embedding.shape[1], intermediate_size=field('feed_forward_length'),
        num_hidden_layers=field('block_count'), num_attention_heads=heads, num_key_value_heads=kv_heads,
        max_position_embeddings=field('context_length'), rms_norm_eps=field('attention.layer_norm_rms_epsilon'),
        rope_parameters={'rope_type': 'default', 'rope_theta': field('rope.freq_base')}, tie_word_embeddings=tied)
    model = LlamaForCausalLM(config).float().eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= ({'lm_head.weight'} if tied else set()), (missing, unexpected)
    model.tie_weights()
    return model
