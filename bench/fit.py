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
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def plain_text(path, work):
    """The file itself, or what is said in its JSON lines."""
    if path.suffix != '.jsonl':
        return path
    said = []
    for line in path.read_text(encoding='utf-8').splitlines():
        said.append('\n'.join(str(value) for value in json.loads(line).values()))
    plain = work / (path.stem + '.txt')
    plain.write_text('\n\n'.join(said), encoding='utf-8')
    return plain


def compress(options, budget, seed, out):
    command = [options.binary, 'compress', options.model, '--fit', f'weights={budget}', '--out', out, '--seed', str(seed), '--json']
    for text in options.calib:
        command += ['--calib', text]
    start = time.monotonic()
    done = subprocess.run([*map(str, command), *options.rest], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)
    report = json.loads(done.stdout)
    made = {'seconds': round(time.monotonic() - start, 1), 'peak_bytes': report['peak_resident_bytes']}
    return {**made, **{key: report[key] for key in ('heal', 'forecast', 'finished') if key in report}}


def judge(options, out, text):
    command = [options.binary, 'eval', out, '--against', options.model, '--text', text, '--ctx', '512', '--chunks', options.chunks, '--json',
               '-q', '--no-speed']
    result = json.loads(subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout)
    return {key: result[key] for key in ('bytes', 'kld_mean', 'top1_agreement', 'ppl', 'ppl_ref')}


def main():
    arguments, rest = sys.argv[1:], []
    if '--' in arguments:
        at = arguments.index('--')
        arguments, rest = arguments[:at], arguments[at + 1:]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', type=Path)
    parser.add_argument('--calib', type=Path, action='append', required=True)
    parser.add_argument('--text', type=Path, action='append', required=True)
    parser.add_argument('--budget', default='60MB')
    parser.add_argument('--seed', default='1')
    parser.add_argument('--chunks', type=int, default=24)
    parser.add_argument('--work', type=Path, default=ROOT / 'build' / 'fit')
    parser.add_argument('--binary', type=Path, default=ROOT / 'build' / 'release' / 'sparing')
    parser.add_argument('--out', type=Path)
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
            judged = {text.stem: judge(options, out, text) for text in texts}
            first = next(iter(judged.values()))
            rows.append({'budget': budget, 'seed': int(seed), 'bytes': first['bytes'], 'made': made, 'texts': judged})
            cells = [budget, seed, f"{first['bytes']:,}"]
            cells += [f"{made['seconds'] / 60:.1f}", f"{made['peak_bytes'] / 2**30:.2f}"] if made else ['', '']
            for j in judged.values():
                cells += [f"{j['kld_mean']:.4f}", f"{100 * j['top1_agreement']:.1f} %"]
            print('| ' + ' | '.join(cells) + ' |', flush=True)
    if options.out:
        options.out.write_text(json.dumps({'model': options.model.name, 'chunks': options.chunks, 'arguments': rest, 'rows': rows}, indent=1) + '\n')


if __name__ == '__main__':
    main()
