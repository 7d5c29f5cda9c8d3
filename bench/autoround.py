#!/usr/bin/env python3
"""Learned rounding beside AutoRound's: the same bits, groups and text, one after the other on the same threads.

    bench/autoround.py MODEL.gguf --calib valid.txt --text wiki.test.raw --bits 3,4 [--sequences 48] [--steps 60] [--our-steps 45]
                       [--chunks 12] [--threads 2] [--work DIR] [--out results.json] [-- --param guided=true]

Needs a Python with PyPI's auto-round. AutoRound leaves embedding and head as they are; Sparing has them at 8 bits. Both are judged by
`sparing eval --against MODEL`: AutoRound's result is exported in GPTQ's format, which Sparing reads. What follows -- goes to Sparing's compress.
"""
import argparse
import os
import shutil
import time
from pathlib import Path

from runs import add_common, judge, keep, sparing, split_rest

GROUP = 64


def unpacked(options):
    """MODEL as a Hugging Face directory, which AutoRound reads."""
    out = options.work / (options.model.stem + '-hf')
    if not out.exists():
        sparing(options.binary, 'convert', options.model, '--to', 'hf', '--out', out, '-q')
    return out


def auto_round(options, directory, bits):
    import torch
    from auto_round import AutoRound
    from transformers import AutoModelForCausalLM, AutoTokenizer
    torch.set_num_threads(options.threads)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    ids = tokenizer(options.calib.read_text(encoding='utf-8'), return_tensors='pt').input_ids[0]
    windows = [ids[i * 512:(i + 1) * 512].unsqueeze(0) for i in range(options.sequences)]
    model = AutoModelForCausalLM.from_pretrained(directory, torch_dtype=torch.float32)
    out = options.work / f'autoround-{bits}'
    shutil.rmtree(out, ignore_errors=True)
    start = time.monotonic()
    rounding = AutoRound(model, tokenizer, bits=bits, group_size=GROUP, sym=False, iters=options.steps, nsamples=options.sequences, seqlen=512,
                         batch_size=8, dataset=windows, device_map='cpu')
    rounding.quantize()
    seconds = time.monotonic() - start
    rounding.save_quantized(str(out), format='auto_gptq')
    found = [out, *out.glob('*')]
    return seconds, next(path for path in found if (path / 'config.json').exists())


def signround(options, directory, bits):
    del directory  # MODEL itself is read
    out = options.work / f'signround-{bits}'
    shutil.rmtree(out, ignore_errors=True)
    start = time.monotonic()
    sparing(options.binary, 'compress', options.model, '--method', 'signround', '--bits', bits, '--group', GROUP, '--param', f'steps={options.our_steps}',
            '--param', 'batch=8', '--embed-method', 'rtn', '--embed-bits', 8, '--calib', options.calib, '--calib-tokens', options.sequences * 512,
            '--threads', options.threads, '--out', out, '-q', *options.rest)
    return time.monotonic() - start, out


def judged(options, path):
    result = judge(options.binary, path, options.model, options.text, 512, options.chunks)
    return {'kl': result['kld_mean'], 'top1_agreement': result['top1_agreement'], 'ppl': result['ppl']}


def main():
    arguments, rest = split_rest()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', type=Path)
    parser.add_argument('--calib', type=Path, required=True)
    parser.add_argument('--text', type=Path, required=True)
    parser.add_argument('--bits', default='3,4')
    parser.add_argument('--sequences', type=int, default=48)
    parser.add_argument('--steps', type=int, default=60)
    parser.add_argument('--our-steps', type=int, default=45)
    parser.add_argument('--chunks', type=int, default=12)
    parser.add_argument('--threads', type=int, default=2)
    add_common(parser, 'autoround')
    options = parser.parse_args(arguments)
    options.rest = rest
    options.work.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault('OMP_NUM_THREADS', str(options.threads))
    directory = unpacked(options)
    rows = []
    print('| bits | by | seconds | KL | same top | perplexity |\n|---|---|---|---|---|---|', flush=True)
    for bits in map(int, options.bits.split(',')):
        for by, made in (('AutoRound', auto_round), ('signround', signround)):
            seconds, path = made(options, directory, bits)
            row = {'bits': bits, 'by': by, 'seconds': round(seconds, 1), **judged(options, path)}
            rows.append(row)
            print(f"| {bits} | {by} | {row['seconds']:.0f} | {row['kl']:.4f} | {100 * row['top1_agreement']:.1f} % | {row['ppl']:.2f} |", flush=True)
    keep(options.out, {'model': options.model.name, 'group': GROUP, 'sequences': options.sequences, 'steps': options.steps,
                       'our_steps': options.our_steps, 'chunks': options.chunks, 'threads': options.threads, 'arguments': rest, 'rows': rows})


if __name__ == '__main__':
    main()
