#!/usr/bin/env python3
"""What 8- and 16-bit activations cost, per coding: KL of each model to itself with f32 activations.

    bench/precision.py --text wiki.test.raw MODEL... [--chunks 8] [--out bench/results/precision.json]

Three columns: as the model's graph declares (16 bits where 8 cost too much), int8 for all, int16 for all. The declared one must stay under
0.002; the exit code says so.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 2e-3


def gap(binary, model, precision, text, chunks):
    done = subprocess.run([binary, 'eval', model, '--against', model, '--precision', precision, '--against-precision', 'f32', '--text', text,
                           '--ctx', '512', '--chunks', str(chunks), '--json', '-q'], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('models', nargs='+', type=Path)
    parser.add_argument('--text', type=Path, required=True)
    parser.add_argument('--chunks', type=int, default=8)
    parser.add_argument('--binary', type=Path, default=ROOT / 'build' / 'release' / 'sparing')
    parser.add_argument('--out', type=Path)
    options = parser.parse_args()
    rows, worst = [], 0.0
    print('| model | codings | KL declared | KL int8 | KL int16 | perplexity f32 | declared |\n|---|---|---|---|---|---|---|', flush=True)
    for model in options.models:
        inspected = subprocess.run([options.binary, 'inspect', model, '--json'], check=True, capture_output=True, text=True)
        codings = sorted(c for c in json.loads(inspected.stdout)['codings'] if c not in ('F32', 'F16', 'BF16'))
        results = {p: gap(options.binary, model, p, options.text, options.chunks) for p in ('declared', 'int8', 'int16')}
        row = {'model': model.name, 'codings': codings, 'ppl_f32': results['declared']['ppl_ref'], 'ppl': results['declared']['ppl'],
               **{p: results[p]['kld_mean'] for p in results}}
        rows.append(row)
        worst = max(worst, row['declared'])
        print(f'| {row["model"]} | {", ".join(codings)} | {row["declared"]:.2e} | {row["int8"]:.2e} | {row["int16"]:.2e} '
              f'| {row["ppl_f32"]:.3f} | {row["ppl"]:.3f} |', flush=True)
    if options.out:
        options.out.write_text(json.dumps({'chunks': options.chunks, 'text': options.text.name, 'limit': LIMIT, 'rows': rows}, indent=1) + '\n')
    sys.exit(worst >= LIMIT)


if __name__ == '__main__':
    main()
