"""What the tests of the command line share: the program, its models, and how a call that works or is refused looks."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get('SPARING_BINARY', str(ROOT / 'build' / 'release' / 'sparing'))
DATA = Path(os.environ.get('SPARING_DATA', ROOT.parent / 'shared' / 'data'))
STORIES = DATA / 'stories260K' / 'checkpoint_legacy.bin'
SMOLLM2 = Path(os.environ.get('SPARING_MODELS', ROOT / 'models')) / 'smollm2.gguf'
NO_SMOLLM2 = f"{SMOLLM2} is missing: run 'make model' or set SPARING_MODELS"
NO_DATA = f'{STORIES} is missing (SPARING_DATA)'

USAGE, INPUT, RESOURCE, INTERRUPTED = 2, 3, 4, 5
TEXT = ' '.join(['Once upon a time there was a little girl named Lily. She loved to play in the park with her dog.'] * 40)


def run(*words, stdin=None, **options):
    return subprocess.run([BINARY, *map(str, words)], input=stdin, capture_output=True, text=True, timeout=120, **options)


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix='sparing-cli-'))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def write(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def ok(self, *words, **options):
        done = run(*words, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def json(self, *words, **options):
        return json.loads(self.ok(*words, '--json', **options).stdout)

    def refused(self, code, text, *words, **options):
        """Exit code, one line on standard error that holds `text`, nothing on standard output."""
        done = run(*words, **options)
        self.assertEqual(done.returncode, code, f'{words}: {done.stderr}')
        self.assertEqual(done.stdout, '', words)
        lines = done.stderr.strip().split('\n')
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertTrue(lines[0].startswith('error: ['), lines[0])
        self.assertIn(text, lines[0])
        return lines[0]
