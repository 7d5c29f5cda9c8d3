#!/usr/bin/env python3
"""Times Sparing beside llama.cpp and OpenVINO GenAI in one run: same model, same threads, interleaved rounds.

    bench/peers/peers.py --setup                        once: builds the peers under build/peers (about 10 minutes on 2 cores)
    bench/peers/peers.py --sparing small/ [--rounds 5]  measures and prints a table; --out writes the JSON

Every contender reads the same F16 source (--reference) in its own best form: llama.cpp Q4_0, Q8_0, Q4_K_M and F16 made by its own
llama-quantize, OpenVINO the Q4_0 file, Sparing the directories given. Each round runs every contender once, in turn, so that a drift of the
machine meets all of them; the table shows medians, spread, and the ratio to the best peer, paired by round.
"""
import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / 'build' / 'peers'
LLAMA_SDIST = 'llama-cpp-python==0.3.36'
OPENVINO = ['openvino-genai==2026.4.1.0']
QUANTS = ['Q4_0', 'Q8_0', 'Q4_K_M']


def run(command, **options):
    print('+', ' '.join(map(str, command)), file=sys.stderr)
    return subprocess.run([str(c) for c in command], check=True, **options)


def setup():
    WORK.mkdir(parents=True, exist_ok=True)
    python = WORK / 'venv' / 'bin' / 'python'
    if not python.exists():
        run([sys.executable, '-m', 'venv', WORK / 'venv'])
    run([python, '-m', 'pip', 'install', '-q', *OPENVINO])
    if not llama('llama-bench').exists() or not llama('llama-imatrix').exists():
        run([python, '-m', 'pip', 'download', '-q', '--no-deps', '--no-binary', ':all:', '-d', WORK, LLAMA_SDIST])
        archive = next(WORK.glob('llama_cpp_python-*.tar.gz'))
        with tarfile.open(archive) as tar:
            tar.extractall(WORK, filter='data') if hasattr(tarfile, 'data_filter') else tar.extractall(WORK)
        source = next(WORK.glob('llama_cpp_python-*/vendor/llama.cpp'))
        # GCC 12 drops the stores to an AMX tile configuration (a wrong constraint in its _tile_loadconfig), and llama.cpp then dies of an
        # illegal instruction; Clang builds it right, so the peer gets the compiler that serves it best.
        compiler = []
        if shutil.which('clang++-16'):
            compiler = ['-DCMAKE_C_COMPILER=clang-16', '-DCMAKE_CXX_COMPILER=clang++-16', '-DGGML_OPENMP=OFF']
        run(['cmake', '-S', source, '-B', WORK / 'llama', '-G', 'Ninja', '-DCMAKE_BUILD_TYPE=Release', '-DLLAMA_CURL=OFF',
             '-DLLAMA_OPENSSL=OFF', '-DLLAMA_BUILD_TESTS=OFF', '-DGGML_NATIVE=ON', *compiler])
        run(['cmake', '--build', WORK / 'llama', '--target', 'llama-bench', 'llama-quantize', 'llama-perplexity', 'llama-imatrix'])


def llama(tool):
    folder = os.environ.get('LLAMA_BIN')
    return Path(folder) / tool if folder else WORK / 'llama' / 'bin' / tool


class LlamaCpp:
    def __init__(self, model, threads):
        self.name, self.model, self.threads = f'llama.cpp {model.stem.split("-")[-1]}', model, threads
        self.bytes = model.stat().st_size

    def measure(self, prompt, decode):
        result = subprocess.run([llama('llama-bench'), '-m', self.model, '-t', str(self.threads), '-p', str(prompt), '-n', str(decode),
                                 '-r', '1', '-o', 'json'], check=True, capture_output=True, text=True)
        rows = json.loads(result.stdout)
        return {('prompt' if row['n_prompt'] else 'decode'): row['avg_ts'] for row in rows}


OPENVINO_SERVER = r'''
import sys, json, random, openvino_genai as g
pipe = g.LLMPipeline(sys.argv[1], 'CPU', {'INFERENCE_NUM_THREADS': int(sys.argv[2])})
words = ['the', 'cat', 'runs', 'over', 'house', 'blue', 'sky', 'river', 'stone', 'walks']
print('ready', flush=True)
for line in sys.stdin:
    seed, prompt, decode = json.loads(line)
    pick = random.Random(seed)
    config = g.GenerationConfig(); config.max_new_tokens = decode + 1; config.ignore_eos = True; config.apply_chat_template = False
    metrics = pipe.generate([' '.join(pick.choice(words) for _ in range(prompt))], config).perf_metrics
    print(json.dumps({'tokens': metrics.get_num_input_tokens(), 'ttft': metrics.get_ttft().mean, 'tpot': metrics.get_tpot().mean}), flush=True)
'''


class OpenVino:
    """One process for all rounds (loading takes seconds); every prompt differs, since the pipeline caches prefixes."""

    def __init__(self, model, threads):
        self.name, self.bytes, self.seed = f'OpenVINO {model.stem.split("-")[-1]}', model.stat().st_size, 0
        python = os.environ.get('OPENVINO_PYTHON', WORK / 'venv' / 'bin' / 'python')
        self.child = subprocess.Popen([python, '-c', OPENVINO_SERVER, model, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL, text=True)
        while self.child.stdout.readline().strip() != 'ready':
            if self.child.poll() is not None:
                raise SystemExit('peers: OpenVINO did not start')

    def ask(self, prompt, decode):
        self.seed += 1
        self.child.stdin.write(json.dumps([self.seed, prompt, decode]) + '\n')
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())

    def measure(self, prompt, decode):
        if self.seed == 0:
            self.ask(prompt, 1)
        first, long = self.ask(prompt, 1), self.ask(8, decode)
        return {'prompt': first['tokens'] / first['ttft'] * 1000, 'decode': 1000 / long['tpot']}


class Sparing:
    def __init__(self, model, threads, binary):
        path, _, self.precision = str(model).partition('@')
        self.model, self.threads, self.binary = Path(path), threads, binary
        self.name = f'sparing {self.model.name}' + f' {self.precision}' * bool(self.precision)
        files = [self.model] if self.model.is_file() else [f for f in self.model.rglob('*') if f.is_file()]
        self.bytes = sum(f.stat().st_size for f in files)

    def bench(self, prompt, decode):
        result = subprocess.run([self.binary, 'bench', self.model, '--prompt', str(prompt), '--decode', str(decode), '--batch', '1',
                                 '--threads', str(self.threads), '--precision', self.precision or 'declared', '--json'], check=True, capture_output=True, text=True)
        return json.loads(result.stdout)

    def measure(self, prompt, decode):
        first, long = self.bench(prompt, 1), self.bench(8, decode)
        self.details = {key: value for key, value in long.items() if key != 'model'}  # no paths in results
        return {'prompt': first['prompt_tokens_per_s'], 'decode': long['decode_tokens_per_s']}


def kl_of(contender, reference, text, binary):
    precision = getattr(contender, 'precision', '') or 'declared'
    result = subprocess.run([binary, 'eval', contender.model, '--against', reference, '--precision', precision, '--against-precision', 'f32',
                             '--text', text, '--ctx', '512', '--chunks', '24', '--json'],
                            check=True, capture_output=True, text=True)
    return json.loads(result.stdout)['kld_mean']


def cpu():
    info = Path('/proc/cpuinfo').read_text()
    field = lambda key: next((l.split(':', 1)[1].strip() for l in info.splitlines() if l.startswith(key)), '')
    wanted = ('avx2', 'fma', 'avx512f', 'avx512_vnni', 'avx_vnni', 'avx512_bf16', 'amx_tile', 'amx_int8', 'amx_bf16')
    return {'model': field('model name'), 'features': [f for f in wanted if f in field('flags').split()], 'cores': os.cpu_count()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--setup', action='store_true', help='build the peers under build/peers and stop')
    parser.add_argument('--reference', type=Path, default=ROOT / 'models' / 'twin.gguf', help='F16 GGUF that all files are made from')
    parser.add_argument('--sparing', nargs='*', default=[], help='models to time with Sparing: PATH or PATH@PRECISION (int8, int16, f32)')
    parser.add_argument('--binary', type=Path, default=ROOT / 'build' / 'release' / 'sparing')
    parser.add_argument('--quants', nargs='*', default=QUANTS)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--prompt', type=int, default=512)
    parser.add_argument('--decode', type=int, default=64)
    parser.add_argument('--kl', type=Path, help='text to measure each file\'s KL to the reference on (24 windows of 512)')
    parser.add_argument('--no-openvino', action='store_true')
    parser.add_argument('--out', type=Path)
    options = parser.parse_args()
    if options.setup:
        return setup()

    files = []
    for quant in options.quants:
        made = WORK / f'{options.reference.stem}-{quant}.gguf'
        if not made.exists():
            WORK.mkdir(parents=True, exist_ok=True)
            run([llama('llama-quantize'), options.reference, made, quant, options.threads], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        files.append(made)
    contenders = [LlamaCpp(f, options.threads) for f in files] + [LlamaCpp(options.reference, options.threads)]
    if not options.no_openvino:
        contenders += [OpenVino(f, options.threads) for f in files if f.stem.endswith(('Q4_0', 'Q8_0'))]
    ours = [Sparing(m, options.threads, options.binary) for m in [*options.sparing, *files]]
    contenders += ours

    rows = {c.name: {'prompt': [], 'decode': []} for c in contenders}
    order = list(contenders)
    for round_number in range(options.rounds):
        random.Random(round_number).shuffle(order)
        for contender in order:
            for key, value in contender.measure(options.prompt, options.decode).items():
                rows[contender.name][key].append(value)
        print(f'round {round_number + 1} of {options.rounds}', file=sys.stderr)

    peers = [c for c in contenders if not isinstance(c, Sparing)]
    median = lambda name, key: statistics.median(rows[name][key])
    best = {key: max(peers, key=lambda c: median(c.name, key)).name for key in ('prompt', 'decode')}
    report = {'cpu': cpu(), 'threads': options.threads, 'rounds': options.rounds, 'prompt': options.prompt, 'decode': options.decode,
              'best_peer': best, 'contenders': []}
    header = f'{"":32} {"bytes":>12} {"prompt t/s":>11} {"spread":>13} {"ratio":>6} {"decode t/s":>11} {"spread":>13} {"ratio":>6}'
    print(header + ('        KL' if options.kl else ''))
    for contender in contenders:
        row = {'name': contender.name, 'bytes': contender.bytes}
        line = f'{contender.name:32} {contender.bytes:12,}'
        for key in ('prompt', 'decode'):
            values = rows[contender.name][key]
            ratio = statistics.median(a / b for a, b in zip(values, rows[best[key]][key]))
            row[key] = {'median': median(contender.name, key), 'min': min(values), 'max': max(values), 'ratio_to_best_peer': ratio}
            line += f' {row[key]["median"]:11.0f} {min(values):6.0f}-{max(values):<6.0f} {ratio:6.2f}'
        if isinstance(contender, Sparing):
            row['details'] = contender.details
        if options.kl:
            if hasattr(contender, 'model'):
                row['kl'] = kl_of(contender, options.reference, options.kl, options.binary)
                line += f' {row["kl"]:9.4f}'
        report['contenders'].append(row)
        print(line)
    print(f'ratio: to the best peer of its column ({best["prompt"]} / {best["decode"]}), median of paired rounds')
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    main()
