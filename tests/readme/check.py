"""check.py BUILD_FOLDER: README.md says the truth.

Every command of a console block runs, with the programs of BUILD_FOLDER first in PATH, in a fresh folder that has models/ and tests/, and
prints what the block shows: each shown line, digits apart, in that order; a line "..." stands for any others. A block after
"<!-- not run: WHY -->" is left out. Every `make TARGET` in the documents is a target of the Makefile.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(sys.argv[1]).resolve()
MODELS = pathlib.Path(os.environ.get('SPARING_MODELS', ROOT / 'models'))
BLOCK = re.compile(r'(<!-- not run: [^>]+ -->\n)?```console\n(.*?)```', re.S)


def shape(line):
    return re.sub(r'\s+', ' ', re.sub(r'[\d.,:]*\d', '#', line)).strip()


def commands(block):
    """[(command, [shown line])]; a command goes on after a backslash."""
    found = []
    for line in block.replace('\\\n', ' ').splitlines():
        if line.startswith('$ '):
            found.append((line[2:], []))
        elif found:
            found[-1][1].append(line)
    return found


def check_targets():
    targets = set(re.findall(r'^([a-z]+):', (ROOT / 'Makefile').read_text(), re.M))
    for document in ('README.md', 'HACKING.md', 'CONTRIBUTING.md'):
        for target in re.findall(r'(?:`|\$ )make ([a-z]+)', (ROOT / document).read_text()):
            if target not in targets:
                sys.exit(f'{document}: make {target}: the Makefile has no such target')


def check_block(block, folder, environment):
    for command, shown in commands(block):
        print(f'$ {command}', flush=True)
        done = subprocess.run(['bash', '-c', command], cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f'exit {done.returncode}:\n{done.stdout}{done.stderr}')
        printed = [shape(line) for line in (done.stdout + done.stderr).splitlines()]
        at = 0
        for line in shown:
            if line.strip() in ('', '...'):
                continue
            if shape(line) not in printed[at:]:
                sys.exit(f'README.md shows\n  {line}\nwhich was not printed here; printed was\n{done.stdout}{done.stderr}')
            at += printed[at:].index(shape(line)) + 1


check_targets()
blocks = [block for skipped, block in BLOCK.findall((ROOT / 'README.md').read_text()) if not skipped]
if not (MODELS / 'smollm2.gguf').exists():
    print(f'skipped: {MODELS}/smollm2.gguf is missing (make model)')
    sys.exit(77)
with tempfile.TemporaryDirectory() as name:
    os.symlink(MODELS.resolve(), pathlib.Path(name) / 'models')
    os.symlink(ROOT / 'tests', pathlib.Path(name) / 'tests')
    variables = os.environ | {'PATH': f'{BUILD}:{os.environ["PATH"]}'}
    for text in blocks:
        check_block(text, name, variables)
