#!/usr/bin/env python3
"""What is lost by llama.cpp's smallest types beside Sparing's directories, on several texts, judged by llama.cpp's and Sparing's own tools.

    bench/peers/quants.py MODEL-F16.gguf --calib valid.txt --text wiki.test.raw [--text other.txt]... [--types Q4_K_M,Q3_K_M,IQ3_XXS]
                          [--sparing small/]... [--chunks 24] [--out results.json]

Types are made by llama-quantize with an importance matrix from the calibration text; KL by llama-perplexity on the first windows of 512.
Directories are judged by `sparing eval --against`, whose convention is the same. A text of JSON lines is read as what is said in it. Needs
`bench/peers/peers.py --setup`.
"""
import argparse
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from peers import ROOT, WORK, llama  # noqa: E402
from runs import judge, keep, plain_text  # noqa: E402


def run(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"quants: {' '.join(map(str, command))}\n{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def quantised(options, kind):
    matrix, out = options.work / 'imatrix.gguf', options.work / f'{options.model.stem}-{kind}.gguf'
    if not matrix.exists():
        run([llama('llama-imatrix'), '-m', options.model, '-f', options.calib, '-o', matrix, '-c', 512, '-t', options.threads, '--chunks', options.calib_chunks])
    if not out.exists():
        run([llama('llama-quantize'), '--imatrix', matrix, options.model, out, kind, options.threads])
    return out


def perplexity(options, model, text, *more):
    return run([llama('llama-perplexity'), '-m', model, '-f', text, '-c', 512, '--chunks', options.chunks, '-t', options.threads,
                '--kl-divergence-base', options.work / f'{text.stem}.base', *more])


def found(pattern, output):
    match = re.search(pattern, output)
    if not match:
        sys.exit(f'quants: no {pattern} in what llama-perplexity says')
    return float(match.group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', type=Path)
    parser.add_argument('--calib', type=Path, required=True)
    parser.add_argument('--calib-chunks', type=int, default=64)
    parser.add_argument('--text', type=Path, action='append', required=True)
    parser.add_argument('--types', default='Q4_K_M,Q3_K_M,IQ4_XS,IQ3_XXS,IQ2_M,IQ1_S')
    parser.add_argument('--sparing', type=Path, action='append', default=[])
    parser.add_argument('--chunks', type=int, default=24)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--work', type=Path, default=WORK / 'quants')
    parser.add_argument('--binary', type=Path, default=ROOT / 'build' / 'release' / 'sparing')
    parser.add_argument('--out', type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    texts = [plain_text(path, options.work) for path in options.text]
    for text in texts:
        if not (options.work / f'{text.stem}.base').exists():
            perplexity(options, options.model, text)
    rows = []
    print('| | bytes | ' + ' | '.join(f'KL {t.stem} | same top' for t in texts) + ' |\n|' + '---|' * (2 + 2 * len(texts)), flush=True)

    def note(name, size, judged):
        rows.append({'name': name, 'bytes': size, 'texts': judged})
        cells = [f"{j['kl']:.4f} | {100 * j['same_top']:.1f} %" for j in judged.values()]
        print(f'| {name} | {size:,} | ' + ' | '.join(cells) + ' |', flush=True)

    for kind in filter(None, options.types.split(',')):
        model, judged = quantised(options, kind), {}
        for text in texts:
            output = perplexity(options, model, text, '--kl-divergence')
            judged[text.stem] = {'kl': found(r'Mean\s+KLD:\s+(-?[\d.]+)', output), 'same_top': found(r'Same top p:\s+([\d.]+)', output) / 100}
        note(f'llama.cpp {kind}', model.stat().st_size, judged)
    for directory in options.sparing:
        judged = {}
        for text in texts:
            result = judge(options.binary, directory, options.model, text, 512, options.chunks)
            judged[text.stem] = {'kl': result['kld_mean'], 'same_top': result['top1_agreement']}
        note(f'Sparing {directory.name}', result['bytes'], judged)
    keep(options.out, {'model': options.model.name, 'chunks': options.chunks, 'rows': rows})


if __name__ == '__main__':
    main()
