"""What the scripts beside it share: their command lines, texts to judge on, and `sparing eval --against`."""
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def split_rest():
    """This script's own arguments, and what follows --, which goes to compress."""
    arguments = sys.argv[1:]
    if '--' not in arguments:
        return arguments, []
    at = arguments.index('--')
    return arguments[:at], arguments[at + 1:]


def add_common(parser, work):
    """--work, --binary and --out, as every script has them."""
    parser.add_argument('--work', type=Path, default=ROOT / 'build' / work)
    parser.add_argument('--binary', type=Path, default=ROOT / 'build' / 'release' / 'sparing')
    parser.add_argument('--out', type=Path)


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


def sparing(binary, *arguments):
    """What it prints on standard output; ends the script where it fails. Its progress goes to this script's standard error."""
    done = subprocess.run([str(a) for a in (binary, *arguments)], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return done.stdout


def judge(binary, model, against, text, ctx, chunks):
    """sparing eval's figures for the first windows of a text."""
    return json.loads(sparing(binary, 'eval', model, '--against', against, '--text', text, '--ctx', ctx, '--chunks', chunks, '--json', '-q', '--no-speed'))


def keep(out, results):
    if out:
        out.write_text(json.dumps(results, indent=1) + '\n')
