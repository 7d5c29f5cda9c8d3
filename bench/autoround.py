#!/usr/bin/env python3
"""Learned rounding beside AutoRound's: the same bits, groups and text, one after the other on the same threads.

    bench/autoround.py MODEL.gguf --calib valid.txt --text wiki.test.raw --bits 3,4 [--sequences 48] [--steps 60] [--our-steps 45]
                       [--chunks 12] [--threads 2] [--work DIR] [--out results.json] [-- --param guided=true]

Needs a Python with PyPI's auto-round. AutoRound leaves embedding and head as they are; Sparing has them at 8 bits. Both are judged by
`sparing eval --against MODEL`: AutoRound's result is exported in GPTQ's format, which Sparing reads. What follows -- goes to Sparing's compress.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GROUP = 64


def unpacked(options):
    """MODEL as a Hugging Face directory, which AutoRound reads."""
    out = options.work / (options.model.stem + '-hf')
    if not out.exists():
        subprocess.run([options.binary, 'convert', options.model, '--to', 'hf', '--out', out, '-q'], check=True, stdout=subprocess.DEVNULL)
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


def sparing(options, bits):
    out = options.work / f'signround-{bits}'
    shutil.rmtree(out, ignore_errors=True)
    command = [options.binary, 'compress', options.model, '--method', 'signround', '--bits', bits, '--group', GROUP, '--param', f'steps={options.our_steps}',
               '--param', 'batch=8', '--calib', options.calib, '--calib-tokens', options.sequences * 512, '--embed-method', 'rtn', '--embed-bits', 8, '--threads', options.threads,
               '--out', out, '-q']
    start = time.monotonic()
    subprocess.run([*map(str, command), *options.rest], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start, out


def judge(options, path):
    command = [options.binary, 'eval', path, '--against', options.model, '--text', options.text, '--ctx', 512, '--chunks', options.chunks, '--json', '-q',
               '--no-speed']
    result = json.loads(subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout)
    return {'kl': result['kld_mean'], 'top1_agreement': result['top1_agreement'], 'ppl': result['ppl']}


def main():
    arguments, rest = sys.argv[1:], []
    if '--' in arguments:
        at = arguments.index('--')
        arguments, rest = arguments[:at], arguments[at + 1:]
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
    parser.add_argument('--work', type=Path, default=ROOT / 'build' / 'autoround')
    parser.add_argument('--binary', type=Path, default=ROOT / 'build' / 'release' / 'sparing')
    parser.add_argument('--out', type=Path)
    options = parser.parse_args(arguments)
    options.rest = rest
    options.work.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault('OMP_NUM_THREADS', str(options.threads))
    directory = unpacked(options)
    rows = []
    print('| bits | by | seconds | KL | same top | perplexity |\n|---|---|---|---|---|---|', flush=True)
    for bits in map(int, options.bits.split(',')):
        for by, made in (('AutoRound', auto_round), ('signround', sparing)):
            seconds, path = made(options, *([directory] if made is auto_round else []), bits)
            row = {'bits': bits, 'by': by, 'seconds': round(seconds, 1), **judge(options, path)}
            rows.append(row)
            print(f"| {bits} | {by} | {row['seconds']:.0f} | {row['kl']:.4f} | {100 * row['top1_agreement']:.1f} % | {row['ppl']:.2f} |", flush=True)
    if options.out:
        options.out.write_text(json.dumps({'model': options.model.name, 'group': GROUP, 'sequences': options.sequences, 'steps': options.steps, 'our_steps': options.our_steps,
                                           'chunks': options.chunks, 'threads': options.threads, 'arguments': rest, 'rows': rows}, indent=1) + '\n')


if __name__ == '__main__':
    main()
