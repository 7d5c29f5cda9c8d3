"""What the tests of `sparing compress` and `claims` share: the programs of BUILD_FOLDER, a real, tiny model (stories260K), a folder."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get('SPARING_DATA', ROOT / '../shared/data')).resolve()
BUILD = pathlib.Path(sys.argv.pop(1)).resolve() if len(sys.argv) > 1 else ROOT / 'build/release'
MODEL = DATA / 'stories260K/checkpoint_v1.bin'
TEXT = DATA / 'tinyshakespeare/input.txt'
CALIB = ['--calib', str(TEXT), '--calib-tokens', '8192', '--calib-length', '256']
HEAL = ['--heal', '8192']  # by itself --fit heals for half a minute


def sparing(*words):
    return subprocess.run([str(BUILD / 'sparing'), *map(str, words)], capture_output=True, text=True)


def size(folder):
    return sum(p.stat().st_size for p in folder.rglob('*') if p.is_file())


class Case(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.temporary.name)
        self.out = self.folder / 'small'
        self.addCleanup(self.temporary.cleanup)

    def ok(self, *words, out='small'):
        done = sparing('compress', MODEL, *words, '--json', '--out', self.folder / out)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def plan(self, *words):
        done = sparing('compress', MODEL, *words, '--json', '--dry-run')
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def kl(self, name):
        done = sparing('eval', self.folder / name, '--against', MODEL, '--text', TEXT, '--ctx', '256', '--chunks', '8', '--no-speed',
                       '--json')
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)['kld_mean']

    def refused(self, expected, *words, model=MODEL):
        """One line, an exit code, and nothing left behind."""
        before = sorted(self.folder.rglob('*'))
        done = sparing('compress', model, *words)
        self.assertNotIn(done.returncode, (0, 70), done.stdout)
        errors = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
        self.assertEqual(len(errors), 1, done.stderr)
        self.assertIn(expected, errors[0])
        self.assertEqual(sorted(self.folder.rglob('*')), before)
        return errors[0]


def main():
    if not MODEL.exists() or not TEXT.exists():
        print(f'skipped: {MODEL} or {TEXT} is missing')
        sys.exit(77)
    unittest.main(verbosity=2)
