#!/usr/bin/env python3
"""The best model for the bytes: `compress --fit weights=...` alone, at several budgets, and what was lost.

    bench/fit.py MODEL --calib valid.txt --text wiki.test.raw [--text other.txt]... --budget 60MB,75MB [--seed 1,2,3] [--work DIR]
                 [--out bench/results/fit.json] [-- --heal none]

For each budget and seed: bytes of the finished directory, seconds and peak memory of the whole command, what healing did, what the plan
foresaw and what came of it, and for each text KL to MODEL and agreement on its first windows of 512. A text of JSON lines is read as
the questions and answers in it. What follows -- goes to compress. Directories that are there already in --work are only judged.
"""
import argparse
import json
import time
from pathlib import Path

from runs import add_common, judge, keep, plain_text, sparing, split_rest


def compress(options, budget, seed, out):
    texts = [part for text in options.calib for part in ('--calib', text)]
    start = time.monotonic()
    report = json.loads(sparing(options.binary, 'compress', options.model, '--fit', f'weights={budget}', '--out', out, '--seed', seed, '--json', *texts,
                                *options.rest))
    made = {'seconds': round(time.monotonic() - start, 1), 'peak_bytes': report['peak_resident_bytes']}
    return {**made, **{key: report[key] for key in ('heal', 'forecast', 'finished') if key in report}}


def judged_on(options, out, text):
    result = judge(options.binary, out, options.model, text, 512, options.chunks)
    return {key: result[key] for key in ('bytes', 'kld_mean', 'top1_agreement', 'ppl', 'ppl_ref')}


def main():
    arguments, rest = split_rest()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', type=Path)
    parser.add_argument('--calib', type=Path, action='append', required=True)
    parser.add_argument('--text', type=Path, action='append', required=True)
    parser.add_argument('--budget', default='60MB')
    parser.add_argument('--seed', default='1')
    parser.add_argument('--chunks', type=int, default=24)
    add_common(parser, 'fit')
    options = parser.parse_args(arguments)
    options.rest = rest
    options.work.mkdir(parents=True, exist_ok=True)
    texts = [plain_text(path, options.work) for path in options.text]
    rows = []
    print('| budget | seed | bytes | minutes | peak GiB | ' + ' | '.join(f'KL {t.stem} | same top' for t in texts) + ' |')
    print('|' + '---|' * (5 + 2 * len(texts)), flush=True)
    for budget in options.budget.split(','):
        for seed in options.seed.split(','):
            out = options.work / f'{options.model.stem}-{budget}-{seed}'
            made = None if out.exists() else compress(options, budget, seed, out)
            judged = {text.stem: judged_on(options, out, text) for text in texts}
            first = next(iter(judged.values()))
            rows.append({'budget': budget, 'seed': int(seed), 'bytes': first['bytes'], 'made': made, 'texts': judged})
            cells = [budget, seed, f"{first['bytes']:,}"]
            cells += [f"{made['seconds'] / 60:.1f}", f"{made['peak_bytes'] / 2**30:.2f}"] if made else ['', '']
            for j in judged.values():
                cells += [f"{j['kld_mean']:.4f}", f"{100 * j['top1_agreement']:.1f} %"]
            print('| ' + ' | '.join(cells) + ' |', flush=True)
    keep(options.out, {'model': options.model.name, 'chunks': options.chunks, 'arguments': rest, 'rows': rows})


if __name__ == '__main__':
    main()
