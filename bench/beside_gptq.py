#!/usr/bin/env python3
"""`--fit` beside uniform `gptq` at every size: each uniform setting's finished directory, to the byte, is the budget of a fit.

    bench/beside_gptq.py MODEL --calib FILE --text FILE [--bits 2,3,4,5,6 --group 32,64] [--seed 1] [--chunks 24] [--work DIR] [--out results.json]
                         [-- --heal none]

Uniform: all linear weights by gptq at one setting, `correct=1`, the embedding by gptq at 8 bits, or at 4 where the layers have 2. KL to MODEL on windows of
--ctx tokens. What follows -- goes to compress --fit.
"""
import argparse
import shutil
from pathlib import Path

from runs import add_common, judge, keep, sparing, split_rest


def judged(options, out):
    result = judge(options.binary, out, options.model, options.text, options.ctx, options.chunks)
    return result['bytes'], result['kld_mean']


def main():
    arguments, rest = split_rest()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', type=Path)
    parser.add_argument('--calib', type=Path, required=True)
    parser.add_argument('--text', type=Path, required=True)
    parser.add_argument('--bits', default='2,3,4,5,6')
    parser.add_argument('--group', default='32,64')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--ctx', type=int, default=256)
    parser.add_argument('--chunks', type=int, default=24)
    add_common(parser, 'beside-gptq')
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    common = ['--calib', options.calib, '--calib-length', options.ctx, '--seed', options.seed, '-q']
    rows = []
    print('| uniform | bytes | KL | --fit, bytes | KL | of uniform |\n|---|---|---|---|---|---|', flush=True)
    for bits in map(int, options.bits.split(',')):
        for group in map(int, options.group.split(',')):
            uniform, fitted = options.work / f'gptq-{bits}-{group}', options.work / f'fit-{bits}-{group}'
            shutil.rmtree(uniform, ignore_errors=True)
            shutil.rmtree(fitted, ignore_errors=True)
            sparing(options.binary, 'compress', options.model, '--method', 'gptq', '--bits', bits, '--group', group, '--param', 'correct=1', '--embed-method', 'gptq',
                    '--embed-bits', 8 if bits > 2 else 4, '--out', uniform, *common)
            size, kl = judged(options, uniform)
            sparing(options.binary, 'compress', options.model, '--fit', f'weights={size}', '--out', fitted, *common, *rest)
            fitted_size, fitted_kl = judged(options, fitted)
            rows.append({'bits': bits, 'group': group, 'uniform_bytes': size, 'uniform_kl': kl, 'fit_bytes': fitted_size, 'fit_kl': fitted_kl})
            print(f'| {bits} bits, groups of {group} | {size:,} | {kl:.4f} | {fitted_size:,} | {fitted_kl:.4f} | {fitted_kl / kl:.2f} |', flush=True)
    keep(options.out, {'model': options.model.stem, 'ctx': options.ctx, 'chunks': options.chunks, 'arguments': rest, 'rows': rows})


if __name__ == '__main__':
    main()
