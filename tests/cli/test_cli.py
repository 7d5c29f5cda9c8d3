#!/usr/bin/env python3
"""Runs the finished `sparing` on the smallest real Llama (stories260K): happy paths, exit codes, one-line messages."""

import json
import math
import os
import shutil
import signal
import subprocess
import time
import unittest
from pathlib import Path

from case import BINARY, Case, INPUT, INTERRUPTED, NO_DATA, NO_SMOLLM2, RESOURCE, ROOT, run, SMOLLM2, STORIES, TEXT, USAGE


class Frame(Case):
    def test_version_and_help(self):
        start = time.monotonic()
        self.assertRegex(self.ok('--version').stdout, r'^sparing \d+\.\d+\.\d+\n$')
        self.assertLess(time.monotonic() - start, 1.0)
        top = self.ok('--help').stdout
        for command in ['inspect', 'verify', 'eval', 'methods', 'convert', 'plan', 'compress', 'run', 'chat', 'bench', 'claims', 'sweep']:
            self.assertIn(f'  {command} ', top)
            if command not in ('plan', 'compress', 'claims'):
                self.assertIn('Examples:\n', self.ok(command, '--help').stdout)

    def test_usage(self):
        self.refused(USAGE, 'did you mean inspect?', 'inspct')
        self.refused(USAGE, '--jsn: no such option; did you mean --json?', 'methods', '--jsn')
        self.refused(USAGE, 'MODEL: missing', 'inspect')
        self.assertEqual(run().returncode, USAGE)

    def test_broken_standard_output(self):
        with open('/dev/full', 'w') as full:
            done = subprocess.run([BINARY, 'methods'], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, RESOURCE)
        self.assertIn('standard output', done.stderr)

    def test_compress_without_the_lab(self):
        alone = self.folder / 'sparing'
        shutil.copy(BINARY, alone)
        done = subprocess.run([alone, 'compress', 'x'], capture_output=True, text=True)
        self.assertEqual(done.returncode, RESOURCE)
        self.assertIn('sparing-lab is not installed', done.stderr)


class Methods(Case):
    def test_lists(self):
        methods = self.json('methods')
        self.assertIsInstance(methods, list)
        ids = [m['id'] for m in methods]
        self.assertIn('rtn', ids)
        self.assertIn('gptq', ids)
        for method in methods:
            for key in ['id', 'kind', 'summary', 'paper', 'compressed', 'deploy', 'prune', 'peft', 'calibration']:
                self.assertTrue(method[key], (method['id'], key))
            self.assertIsInstance(method['params'], list)
        for axis in ['kind', 'compressed', 'deploy', 'prune', 'peft', 'calibration']:
            self.assertIn('gptq', self.ok('methods', '--by', axis).stdout)

    def test_one(self):
        gptq = self.json('methods', 'gptq')
        self.assertIn('bits', [p['name'] for p in gptq['params']])
        self.assertIn('damping', self.ok('methods', 'gptq').stdout)
        self.assertTrue(gptq['page'].startswith('# gptq'))
        self.refused(USAGE, "did you mean 'gptq'?", 'methods', 'gptqq')

    def test_claims_are_shown(self):
        folder = ROOT / 'claims'
        results = [json.loads(p.read_text()) for p in sorted(folder.glob('*.json'))]
        gptq = [r for r in results if r['method'] == 'gptq']
        shown = self.json('methods', 'gptq', '--claims', folder)['claims']
        self.assertEqual(sorted((r['id'], r['model'], r['pass']) for r in gptq),
                         sorted((r['id'], r['model'], r['pass']) for r in shown))
        self.assertIn(gptq[0]['reason'], self.ok('methods', 'gptq', '--claims', folder).stdout)
        self.assertRegex(self.ok('methods', '--claims', folder).stdout, r'gptq .*; \d+ of \d+ claims hold')
        self.assertEqual(self.json('methods', 'gptq', '--claims', self.folder)['claims'], [])


@unittest.skipUnless(STORIES.exists(), NO_DATA)
class Inspect(Case):
    def test_counts_add_up(self):
        model = self.json('inspect', STORIES)
        self.assertEqual(model['parameters'], 260032)
        self.assertEqual(len(model['layers']), 5)
        self.assertEqual(sum(r['bytes'] for r in model['roles'].values()), model['weight_bytes'])
        self.assertEqual(sum(s['bytes'] for s in model['sites']), model['weight_bytes'])
        self.assertEqual(model['weight_bytes'] + model['other_bytes'], model['bytes'])
        self.assertIn('feed-forward', self.ok('inspect', STORIES, '--sites').stdout)

    def test_bad_models(self):
        self.refused(INPUT, 'nowhere', 'inspect', self.folder / 'nowhere')
        self.refused(INPUT, str(self.folder), 'inspect', self.folder)
        self.refused(INPUT, 'empty.gguf', 'inspect', self.write('empty.gguf', b''))
        self.refused(INPUT, 'noise.gguf', 'inspect', self.write('noise.gguf', bytes(range(256)) * 9))
        self.refused(INPUT, 'cut.bin', 'inspect', self.write('cut.bin', STORIES.read_bytes()[:-1000]))
        self.refused(INPUT, 'pytorch_model.bin', 'inspect', self.write('pytorch_model.bin', b'PK\x03\x04' + bytes(100)))


@unittest.skipUnless(STORIES.exists(), NO_DATA)
class Convert(Case):
    STORY = ['--prompt', 'Once upon a time', '--max-tokens', '30']

    def test_every_format_tells_the_same_story(self):
        story = self.json('run', STORIES, *self.STORY)['text']
        for to, dtype in [('sparing', None), ('sparing', 'f32'), ('hf', 'f32'), ('gguf', 'f32'), ('hf', 'bf16')]:
            out = self.folder / f'{to}-{dtype}'
            done = self.json('convert', STORIES, '--to', to, '--out', out, *(['--dtype', dtype] if dtype else []))
            self.assertEqual(done['bytes'], self.json('inspect', out)['bytes'])
            self.assertGreater(self.json('verify', out)['tensors'], 40)
            if dtype != 'bf16':
                self.assertEqual(self.json('run', out, *self.STORY)['text'], story, out)
        self.assertEqual(self.json('inspect', self.folder / 'hf-bf16')['codings'].keys(), {'BF16'})
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), 
                         ['gguf-f32', 'hf-bf16', 'hf-f32', 'sparing-None', 'sparing-f32'])

    def test_refusals_leave_nothing(self):
        (self.folder / 'there').mkdir()
        self.refused(USAGE, 'there', 'convert', STORIES, '--to', 'hf', '--out', self.folder / 'there')
        self.refused(USAGE, 'say --to', 'convert', STORIES, '--out', self.folder / 'new')
        self.refused(USAGE, 'q8_0: GGUF only', 'convert', STORIES, '--to', 'hf', '--dtype', 'q8_0', '--out', self.folder / 'new')
        self.refused(USAGE, '--out', 'convert', STORIES, '--to', 'hf')
        self.refused(RESOURCE, 'no/such', 'convert', STORIES, '--to', 'hf', '--out', self.folder / 'no' / 'such' / 'folder')
        self.refused(INPUT, 'nowhere', 'convert', self.folder / 'nowhere', '--to', 'hf', '--out', self.folder / 'new')
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), ['there'])

    def test_verify_finds_a_flipped_bit(self):
        out = self.folder / 'model'
        self.ok('convert', STORIES, '--to', 'sparing', '--out', out)
        weights = next(out.glob('sparing-*.safetensors'))
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)
        self.assertIn('hash', self.refused(INPUT, '[verify]', 'verify', out))


@unittest.skipUnless(STORIES.exists(), NO_DATA)
class Run(Case):
    def test_greedy_is_a_story(self):
        done = self.json('run', STORIES, '--prompt', 'Once upon a time', '--max-tokens', '40')
        self.assertTrue(done['text'].startswith(', there was a little'), done['text'])
        self.assertEqual(done['tokens'], 40)
        self.assertEqual(done['finish'], 'length')
        streamed = self.ok('run', STORIES, '--prompt', 'Once upon a time', '--max-tokens', '40')
        self.assertEqual(streamed.stdout, done['text'] + '\n')
        self.assertIn('tokens at', streamed.stderr)
        self.assertEqual(self.ok('run', STORIES, '-p', 'Once', '-q', '--max-tokens', '3').stderr, '')

    def test_threads_and_drafts_change_nothing(self):
        words = ['run', STORIES, '--prompt', 'Once upon a time', '--max-tokens', '200', '--ignore-end']
        plain = self.json(*words, '--threads', '1')
        for more in [['--threads', '2'], ['--draft', 'lookup'], ['--draft', 'lookup', '--draft-tokens', '3', '--threads', '2'],
                     ['--batch-tokens', '3']]:
            self.assertEqual(self.json(*words, *more)['text'], plain['text'], more)
        drafted = self.json(*words, '--draft', 'lookup')
        self.assertGreater(drafted['accepted_tokens'], 0)
        sampled = ['--temperature', '0.9', '--seed', '5']
        self.assertEqual(self.json(*words, *sampled)['text'], self.json(*words, *sampled, '--draft', 'lookup')['text'])

    def test_seed(self):
        words = ['run', STORIES, '--prompt', 'Once', '--temperature', '1', '--max-tokens', '30']
        texts = {seed: self.json(*words, '--seed', seed)['text'] for seed in '123'}
        self.assertEqual(texts['1'], self.json(*words, '--seed', '1')['text'])
        self.assertGreater(len(set(texts.values())), 1)

    def test_stop_and_sources_of_the_prompt(self):
        words = ['run', STORIES, '--max-tokens', '60']
        whole = self.json(*words, '--prompt', 'Once upon a time')['text']
        stopped = self.json(*words, '--prompt', 'Once upon a time', '--stop', 'little', '--stop', 'zebra')
        self.assertEqual(stopped['text'], whole[:whole.index('little')])
        self.assertEqual(stopped['finish'], 'stop_string')
        self.assertEqual(self.json(*words, '--prompt', '-', stdin='Once upon a time')['text'], whole)
        self.assertEqual(self.json(*words, stdin='Once upon a time')['text'], whole)
        prompt = self.write('prompt.txt', 'Once upon a time')
        self.assertEqual(self.json(*words, '--file', prompt)['text'], whole)
        self.refused(USAGE, 'give one of them', *words, '--file', prompt, '--prompt', 'x')
        self.refused(INPUT, 'nowhere.txt', *words, '--file', self.folder / 'nowhere.txt')

    def test_context(self):
        done = self.json('run', STORIES, '--prompt', 'Once upon a time', '--ctx', '16', '--ignore-end')
        self.assertEqual(done['finish'], 'context')
        self.assertEqual(done['prompt_tokens'] + done['tokens'], 17)
        self.refused(USAGE, 'the context 16', 'run', STORIES, '--prompt', 'word ' * 40, '--ctx', '16')
        self.refused(USAGE, '--temperature', 'run', STORIES, '--prompt', 'x', '--temperature', '-1')
        self.refused(USAGE, 'no_such_isa', 'run', STORIES, '--prompt', 'x', '--isa', 'no_such_isa')

    def endless(self, **options):
        return subprocess.Popen([BINARY, 'run', str(STORIES), '--prompt', 'Once', '--ignore-end', '--max-tokens', '1000000',
                                 '--ctx', '100000'], stdout=subprocess.PIPE, **options)

    def test_interrupt(self):
        child = self.endless(stderr=subprocess.PIPE)
        self.assertNotEqual(child.stdout.read(1), b'')
        child.send_signal(signal.SIGINT)
        _, error = child.communicate(timeout=60)
        self.assertEqual(child.returncode, INTERRUPTED, error)

    def test_reader_goes_away(self):
        child = self.endless(stderr=subprocess.DEVNULL)
        child.stdout.read(1)
        child.stdout.close()
        self.assertEqual(child.wait(timeout=60), -signal.SIGPIPE)


@unittest.skipUnless(STORIES.exists(), NO_DATA)
class Stack(Case):
    """One directory, loaded as far as some bytes go (--bytes)."""

    @unittest.skipUnless(Path(BINARY).with_name('sparing-lab').exists(), 'built without the lab')
    def test_damage_falls_with_size(self):
        text, stack = self.write('text.txt', TEXT), self.folder / 'stack'
        self.ok('compress', STORIES, '--method', 'bitstack', '--param', 'blocks=8', '--calib', text, '--calib-length', '128', '--out', stack)
        whole = self.json('inspect', stack)['bytes']
        judge = ['eval', stack, '--against', STORIES, '--text', text, '--ctx', '64', '--chunks', '8', '--no-speed']
        least = self.refused(RESOURCE, 'give at least that', *judge, '--bytes', '1000')
        self.assertIn('1000 B', least)
        last, sizes = self.json(*judge), []
        self.assertEqual(last['bytes'], whole)
        self.assertEqual(self.json(*judge, '--bytes', '1GB')['kld_mean'], last['kld_mean'])
        for bytes_left in range(whole - 12000, 0, -12000):
            done = run(*judge, '--bytes', str(bytes_left), '--json')
            if done.returncode == RESOURCE:
                break
            here = json.loads(done.stdout)
            self.assertLessEqual(here['bytes'], bytes_left)
            self.assertGreater(here['bytes'], bytes_left - 12000, 'no block is as large')
            self.assertGreater(here['kld_mean'], 0.9 * last['kld_mean'], bytes_left)
            last = here
            sizes.append(bytes_left)
        self.assertGreater(len(sizes), 8)
        self.assertGreater(last['kld_mean'], 1)
        smaller = ['--prompt', 'Once upon a time', '--max-tokens', '8', '--bytes', str(sizes[0])]
        self.assertEqual(self.json('run', stack, *smaller)['tokens'], 8)
        self.refused(USAGE, 'no stack', 'run', STORIES, '--prompt', 'x', '--bytes', '100kB')


@unittest.skipUnless(STORIES.exists(), NO_DATA)
class Eval(Case):
    def test_against_itself(self):
        text = self.write('text.txt', TEXT)
        report = self.json('eval', STORIES, '--against', STORIES, '--text', text, '--ctx', '64', '--chunks', '4')
        for key in ['ppl', 'ppl_ref', 'kld_mean', 'kld_median', 'kld_p99', 'kld_max', 'top1_agreement', 'bytes', 'tokens_per_s']:
            self.assertIsInstance(report[key], (int, float), key)
        self.assertEqual(report['ppl'], report['ppl_ref'])
        self.assertEqual(report['kld_max'], 0)
        self.assertEqual(report['top1_agreement'], 1)
        self.assertEqual(report['bytes'], self.json('inspect', STORIES)['bytes'])
        self.assertGreater(report['tokens_per_s'], 0)
        self.assertEqual(report['scored_tokens'], 4 * 31)
        alone = self.json('eval', STORIES, '--text', text, '--ctx', '64', '--chunks', '4', '--no-speed', '--threads', '1')
        self.assertEqual(alone['ppl'], report['ppl'])
        self.assertNotIn('kld_mean', alone)
        self.assertLess(alone['ppl'], 20)
        self.assertTrue(math.isfinite(alone['ppl_error']))

    def test_bad_text(self):
        self.refused(INPUT, 'is empty', 'eval', STORIES, '--text', self.write('empty.txt', ''))
        line = self.refused(INPUT, 'one window needs 512', 'eval', STORIES, '--text', self.write('short.txt', 'Hello there.'))
        self.assertRegex(line, r'the text has \d+ tokens')
        self.refused(INPUT, 'nowhere.txt', 'eval', STORIES, '--text', self.folder / 'nowhere.txt')
        self.refused(USAGE, '--text', 'eval', STORIES)
        text = self.write('text.txt', TEXT)
        self.refused(USAGE, '--ctx 1024', 'eval', STORIES, '--text', text, '--ctx', '1024')
        self.refused(USAGE, '--chunks -1', 'eval', STORIES, '--text', text, '--ctx', '64', '--chunks=-1')


    def test_probes(self):
        report = self.json('eval', STORIES, '--against', STORIES, '--kick', '--kick-questions', '12', '--seed', '4')
        self.assertEqual([p['name'] for p in report['kick']['probes']], ['knowledge', 'retrieval', 'arithmetic'])
        for probe in report['kick']['probes']:
            self.assertEqual(probe['tasks'], 12)
            self.assertEqual((probe['lost'], probe['won'], probe['drop_points']), (0, 0, 0))
            self.assertEqual(probe['accuracy'], probe['reference']['accuracy'])
        self.assertEqual(report['kick']['hidden_losses'], [])
        self.assertIn('retrieval', self.ok('eval', STORIES, '--kick', '--kick-questions', '4').stdout)
        self.refused(USAGE, '--kick-questions', 'eval', STORIES, '--kick', '--kick-questions', '0')

    def test_tasks_and_report(self):
        """Multiple-choice tasks in several dialects, several candidates, and the folder that --out writes."""
        lines = [{'goal': 'There was a little', 'sol1': 'girl.', 'sol2': 'xqz.'},
                 {'query': 'Once upon a', 'choices': ['time', 'qq'], 'gold': 0},
                 {'target': 0, 'arguments': [['She was very', ' happy'], ['She was very', ' zzz']]}]
        tasks = self.write('t.jsonl', '\n'.join(map(json.dumps, lines)) + '\n')
        self.write('t-labels.lst', '0\n0\n0\n')
        text = self.write('text.txt', TEXT)
        other = self.folder / 'other'
        self.ok('convert', STORIES, '--to', 'gguf', '--dtype', 'q8_0', '--out', other)
        out = self.folder / 'report'
        report = self.json('eval', STORIES, other, '--against', STORIES, '--text', text, '--ctx', '64', '--chunks', '4', '--no-speed',
                           '--tasks', tasks, '--kick', '--kick-questions', '8', '--generate', '2', '--generate-tokens', '24', '--out', out)
        self.assertEqual(len(report['candidates']), 2)
        for candidate in report['candidates']:
            self.assertEqual(candidate['tasks']['tasks'], 3)
            self.assertEqual(candidate['tasks']['accuracy']['value'], 1)
            self.assertEqual(candidate['tasks']['flips']['value'], 0)
            self.assertEqual(candidate['diversity']['tokens'], 48)
        self.assertEqual(report['candidates'][0]['kld_mean'], 0)
        self.assertGreater(report['candidates'][1]['kld_mean'], 0)
        self.assertAlmostEqual(report['pairs'][0]['kld']['difference'], -report['candidates'][1]['kld_mean'])
        self.assertEqual(sorted(p.name for p in out.iterdir()), ['index.html', 'questions-1.jsonl', 'questions-2.jsonl',
                                                                 'questions-reference.jsonl', 'report.json', 'report.md'])
        page = (out / 'index.html').read_text()
        self.assertEqual(page.count('<svg'), 4)
        self.assertNotIn('http', page)
        whole = json.loads((out / 'report.json').read_text())
        self.assertEqual(whole['candidates'][1]['text']['kld_mean'], report['candidates'][1]['kld_mean'])
        # What is logged is itself a task file.
        again = self.json('eval', STORIES, '--tasks', out / 'questions-1.jsonl')
        self.assertEqual(again['tasks']['accuracy'], report['tasks']['accuracy'])
        self.assertEqual(again['tasks']['likelihood'], report['tasks']['likelihood'])
        self.refused(USAGE, 'report', 'eval', STORIES, '--tasks', tasks, '--out', out)
        self.refused(USAGE, '--generate', 'eval', STORIES, '--tasks', tasks, '--generate', '2')
        bad = self.write('bad.jsonl', '{"goal": "g", "sol1": "a"}\n')
        self.refused(INPUT, 'line 1: field sol2 is missing', 'eval', STORIES, '--tasks', bad, '--out', self.folder / 'none')
        self.assertFalse((self.folder / 'none').exists())

    @unittest.skipUnless(SMOLLM2.exists(), NO_SMOLLM2)
    def test_other_vocabulary(self):
        text = self.write('text.txt', TEXT)
        self.refused(USAGE, 'compare models of one tokenizer', 'eval', STORIES, '--against', SMOLLM2, '--text', text, '--ctx', '64')

    def test_other_tokenizer(self):
        """The same vocabulary size, other pieces: what the ids mean is what counts."""
        tokenizer = bytearray((STORIES.parent / 'tokenizer.bin').read_bytes())
        at = tokenizer.index(b'there') if b'there' in tokenizer else tokenizer.index(b'the')
        tokenizer[at:at + 3] = b'xyz'
        shutil.copy(STORIES, self.folder / 'other.bin')
        self.write('tokenizer.bin', bytes(tokenizer))
        text = self.write('text.txt', TEXT)
        self.refused(USAGE, 'read the text differently', 'eval', STORIES, '--against', self.folder / 'other.bin', '--text', text,
                     '--ctx', '64')


@unittest.skipUnless(STORIES.exists(), NO_DATA)
class Sweep(Case):
    def test_ends_in_advice(self):
        text = self.write('text.txt', TEXT)
        other = self.folder / 'other'
        self.ok('convert', STORIES, '--to', 'gguf', '--dtype', 'q8_0', '--out', other)
        words = ['sweep', STORIES, other, '--against', STORIES, '--text', text, '--ctx', '64', '--chunks', '2', '--texts', '2',
                 '--temperatures', '0,1', '--top-k', '0,5', '--lengths', '8,32']
        same, coded = self.json(*words)['models']
        self.assertEqual([(r['temperature'], r['top_k'], r['length']) for r in same['rows']],
                         [(t, k, n) for t, k in [(0, 0), (1, 0), (1, 5)] for n in (8, 32)])
        for row in same['rows']:
            self.assertEqual(row['differs'], 0)
            self.assertEqual(row['candidate']['distinct_2'], row['reference']['distinct_2'])
            self.assertEqual(row['candidate']['tokens'], 2 * row['length'])
        self.assertTrue(any(row['differs'] > 0 for row in coded['rows']))
        self.assertIn('differs least', coded['advice'][-2])
        self.assertIn('choices differ', self.ok(*words).stdout)
        self.refused(USAGE, '--lengths 2', 'sweep', STORIES, '--against', STORIES, '--text', text, '--lengths', '2')
        self.refused(USAGE, 'positions are wanted', 'sweep', STORIES, '--against', STORIES, '--text', text, '--lengths', '5000')


@unittest.skipUnless(STORIES.exists(), NO_DATA)
class Bench(Case):
    def test_keys(self):
        report = self.json('bench', '--prompt', '16,32', '--batch', '1,2', STORIES, '--decode', '4', '--threads', '1', '--rounds', '1')
        for key in ['prompt_tokens_per_s', 'decode_tokens_per_s', 'first_token_ms', 'resident_bytes', 'bandwidth_share',
                    'compute_share', 'bytes_per_token']:
            self.assertGreater(report[key], 0, key)
        self.assertIsInstance(report['isa'], str)
        self.assertEqual([(r['batch'], r['prompt']) for r in report['runs']], [(1, 16), (1, 32), (2, 16), (2, 32)])
        self.refused(USAGE, '--prompt', 'bench', STORIES, '--prompt', '0')


@unittest.skipUnless(SMOLLM2.exists(), NO_SMOLLM2)
@unittest.skipIf(b'__asan_init' in Path(BINARY).read_bytes(), "the sanitizer's own memory would count")
class Memory(Case):
    """A model runs in the memory of its file, its key-value cache and 48 MiB, from the first page to the last token."""

    ROOM = 48 << 20

    def test_bench(self):
        for options in [('--prompt', '128', '--decode', '32'), ('--prompt', '700', '--decode', '4', '--kv', 'f32')]:
            report = self.json('bench', SMOLLM2, '--rounds', '1', *options)
            self.assertLessEqual(report['resident_bytes'], report['bytes'] + report['kv_bytes'] + self.ROOM, report)

    def peak(self, *words):
        process = subprocess.Popen([BINARY, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0, words)
        return usage.ru_maxrss << 10

    def test_run(self):
        context = 512
        kv = self.json('bench', SMOLLM2, '--prompt', str(context - 2), '--decode', '1', '--rounds', '1')['kv_bytes']
        for prompt in ['Water is', 'Water is ' * 200]:
            most = SMOLLM2.stat().st_size + kv + self.ROOM
            self.assertLessEqual(self.peak('run', SMOLLM2, '--prompt', prompt, '--ctx', context, '--max-tokens', '24'), most)

    def test_run_of_a_sparing_directory(self):
        out = self.folder / 'out'
        self.ok('convert', SMOLLM2, '--to', 'sparing', '--out', out)
        stored = sum(f.stat().st_size for f in out.iterdir())
        # 64 positions of 30 layers, 3 heads of 64, keys and values in int16 with a step of 4 bytes.
        kv = 64 * 30 * 3 * (64 * 2 + 4) * 2
        peak = self.peak('run', out, '--prompt', 'Water is', '--ctx', '64', '--max-tokens', '24')
        self.assertLessEqual(peak, stored + kv + self.ROOM)


if __name__ == '__main__':
    unittest.main()
