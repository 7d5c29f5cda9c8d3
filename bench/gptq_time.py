#!/usr/bin/env python3
"""The time that `gptq` takes of a whole model, beside the same in PyTorch and beside the matrix products alone that each makes.

    bench/gptq_time.py MODEL --calib valid.txt [--rounds 1] [--threads 2] [--torch-blocks 6] [--python /usr/bin/python3] [--work DIR] [--out FILE]

128 sequences of 512 tokens, 4 bits, groups of 64; embedding and head stay. Sparing runs as it does by default (least-squares scales and
coordinate descent after error feedback) and plain (`refine=0`), which is what bench/gptq_torch.py does too. Products are timed there: PyTorch makes
two passes over the text, whole moments, and the updates; Sparing one pass, attention by causal blocks of 128 queries, moments by halves (they
are symmetric), and the updates. All are timed in f32; on AMX-BF16 Sparing makes those of its pass in bf16 halves (src/kernels/split_product.h).
"""
import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CAUSAL = sum(range(128, 512 + 1, 128)) / (4 * 512)  # of the products of every query with every key, what blocks of 128 queries make of 512


def run(command):
    start = time.monotonic()
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return time.monotonic() - start, done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', type=Path)
    parser.add_argument('--calib', type=Path, required=True)
    parser.add_argument('--rounds', type=int, default=1)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--torch-blocks', type=int, default=0, help="time PyTorch on so many of the model's blocks, as if all took as long; 0: on all")
    parser.add_argument('--python', default=sys.executable, help='one that has torch and numpy')
    parser.add_argument('--binary', type=Path, default=ROOT / 'build' / 'release' / 'sparing')
    parser.add_argument('--work', type=Path, default=ROOT / 'build' / 'gptq-time')
    parser.add_argument('--out', type=Path)
    o = parser.parse_args()
    o.work.mkdir(parents=True, exist_ok=True)
    floats, made = o.work / 'floats', o.work / 'made'
    if not floats.exists():
        run([o.binary, 'convert', o.model, '--to', 'hf', '--dtype', 'f16', '--out', floats, '-q'])
    plain = ['--param', 'refine=0']
    took = {'sparing gptq refine=0': [], 'sparing gptq': []}
    torch = []
    for _ in range(o.rounds):
        for name, extra in zip(took, (plain, [])):
            shutil.rmtree(made, ignore_errors=True)
            seconds, _ = run([o.binary, 'compress', o.model, '--method', 'gptq', '--bits', 4, '--group', 64, *extra, '--embed-method', 'keep',
                              '--calib', o.calib, '--calib-tokens', 128 * 512, '--threads', o.threads, '--out', made, '-q', '--json'])
            took[name].append(seconds)
        torch.append(json.loads(run([o.python, ROOT / 'bench' / 'gptq_torch.py', floats, '--threads', o.threads, '--blocks', o.torch_blocks])[1]))
    whole = torch[0]['of_blocks'] / torch[0]['blocks']
    product = {name: whole * statistics.median(t['products'][name] for t in torch) for name in ('pass', 'attention', 'moments', 'updates')}
    theirs = 2 * (product['pass'] + product['attention']) + product['moments'] + product['updates']
    ours = product['pass'] + CAUSAL * product['attention'] + product['moments'] / 2 + product['updates']
    rows = {**{name: statistics.median(s) for name, s in took.items()}, 'PyTorch': whole * statistics.median(t['seconds'] for t in torch)}
    print('| | seconds | its products alone | ratio | of PyTorch\'s |\n|---|---|---|---|---|')
    for name, seconds in rows.items():
        products = theirs if name == 'PyTorch' else ours
        print(f"| {name} | {seconds:.1f} | {products:.1f} | {seconds / products:.2f} | {seconds / rows['PyTorch']:.2f} |")
    if o.out:
        result = {'model': o.model.name, 'threads': o.threads, 'sparing': took, 'torch': torch, 'products_seconds': product}
        o.out.write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
