"""What the scripts of tests/oracle share: the programs, the models, and how to agree, skip or differ."""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np

SPARING, PROBE = os.environ['SPARING'], os.environ['PROBE']
MODELS, DATA = pathlib.Path(os.environ['SPARING_MODELS']), pathlib.Path(os.environ['SPARING_DATA'])


def skip(why):
    print(f'skipped: {why}')
    sys.exit(77)


def need(path):
    if not pathlib.Path(path).exists():
        skip(f'{path} is missing')
    return pathlib.Path(path)


def run(*arguments, stdin=b''):
    done = subprocess.run([str(a) for a in arguments], input=stdin, capture_output=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr.decode(errors='replace')}")
    return done.stdout


def sparing_json(*arguments):
    return json.loads(run(SPARING, *arguments, '--json'))


def tensors(model):
    """{name: (rows, cols or 0 for a vector, coding)}"""
    rows = (line.split(' ', 3) for line in run(PROBE, 'tensors', model).decode().splitlines())
    return {name: (int(r), int(c), coding) for name, r, c, coding in rows}


def weight(model, name):
    rows, cols, _ = tensors(model)[name]
    values = np.frombuffer(run(PROBE, 'weight', model, name), dtype=np.float32)
    return values.reshape(rows, cols) if cols else values


def tokens(model, text):
    return np.frombuffer(run(PROBE, 'tokens', model, stdin=text), dtype=np.int32)


def logits(model, ids):
    ids = np.asarray(ids, dtype=np.int32)
    return np.frombuffer(run(PROBE, 'logits', model, stdin=ids.tobytes()), dtype=np.float32).reshape(len(ids), -1)


def check(what, value, limit):
    print(f'{what}: {value:.6g} (at most {limit:g})')
    if not value <= limit:
        sys.exit(f'DIFFERS: {what}')
