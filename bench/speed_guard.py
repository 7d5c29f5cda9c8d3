#!/usr/bin/env python3
"""Compares this commit's speed with another's in one run: builds both, interleaves `sparing bench`, prints paired ratios.

    bench/speed_guard.py --base main~1 --model models/smollm2.gguf [--rounds 7] [--fail-below 0.95]

The base is checked out into build/speed-guard as a git worktree. A ratio below --fail-below in prompt or decode ends with exit status 1. Not
part of `make test`: timings never decide a test.
"""
import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def build(source):
    subprocess.run(['cmake', '--preset', 'release', '-DSPARING_LAB=OFF', '-DSPARING_TESTS=OFF'], cwd=source, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(['cmake', '--build', 'build/release', '--target', 'sparing'], cwd=source, check=True, stdout=subprocess.DEVNULL)
    return source / 'build' / 'release' / 'sparing'


def bench(binary, model, threads, prompt, decode):
    command = [binary, 'bench', model, '--prompt', str(prompt), '--decode', str(decode), '--batch', '1', '--threads', str(threads), '--json']
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--base', default='main~1', help='commit to compare with')
    parser.add_argument('--model', type=Path, default=ROOT / 'models' / 'smollm2.gguf')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--prompt', type=int, default=512)
    parser.add_argument('--decode', type=int, default=64)
    parser.add_argument('--fail-below', type=float, default=0.95)
    options = parser.parse_args()

    base = ROOT / 'build' / 'speed-guard'
    if base.exists():
        subprocess.run(['git', 'worktree', 'remove', '--force', base], cwd=ROOT, check=True)
    subprocess.run(['git', 'worktree', 'add', '--detach', '-f', base, options.base], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    model = options.model.resolve()
    try:
        binaries = {'here': build(ROOT), 'base': build(base)}
        ratios = {'prompt': [], 'decode': []}
        for round_number in range(options.rounds + 1):
            names = ['here', 'base'] if round_number % 2 else ['base', 'here']
            speeds = {name: bench(binaries[name], model, options.threads, options.prompt, options.decode) for name in names}
            if round_number == 0:
                continue  # warm-up
            for key in ratios:
                ratios[key].append(speeds['here'][f'{key}_tokens_per_s'] / speeds['base'][f'{key}_tokens_per_s'])
    finally:
        subprocess.run(['git', 'worktree', 'remove', '--force', base], cwd=ROOT)

    slower = False
    for key, values in ratios.items():
        middle = statistics.median(values)
        print(f'{key:7} here/{options.base}: {middle:.3f}  ({min(values):.3f} to {max(values):.3f}, {len(values)} rounds)')
        slower |= middle < options.fail_below
    return 1 if slower else 0


if __name__ == '__main__':
    sys.exit(main())
