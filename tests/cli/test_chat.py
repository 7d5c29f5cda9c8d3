#!/usr/bin/env python3
"""`sparing chat` on the smallest real Llama (stories260K): turns, commands, interrupts, the terminal."""

import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import time
import unittest

from case import BINARY, Case, INTERRUPTED, NO_DATA, run, STORIES, USAGE

TEMPLATE = """{% for m in messages %}{{ m.content }} {% endfor %}{% if add_generation_prompt %}One day{% endif %}"""


@unittest.skipUnless(STORIES.exists(), NO_DATA)
class Chat(Case):
    def setUp(self):
        super().setUp()
        self.model = self.folder / 'model'
        self.ok('convert', STORIES, '--to', 'hf', '--dtype', 'f32', '--out', self.model)
        (self.model / 'chat_template.jinja').write_text(TEMPLATE)

    def test_turns_reuse_what_was_read(self):
        words = ['chat', self.model, '--max-tokens', '20', '--system', 'Once upon a time']
        done = self.json(*words, stdin='there was a dog.\n/stats\n\nAnd a cat.\n/exit\nnever read\n')
        self.assertEqual([m['role'] for m in done['messages']], ['system', 'user', 'assistant', 'user', 'assistant'])
        first, second = done['turns']
        self.assertEqual(first['text'], done['messages'][2]['content'])
        self.assertGreater(second['reused_tokens'], 0)
        self.assertLess(second['reused_tokens'], second['prompt_tokens'])
        streamed = self.ok(*words, stdin='there was a dog.\nAnd a cat.')
        self.assertEqual(streamed.stdout, first['text'] + '\n' + second['text'] + '\n')
        drafted = self.json(*words, '--draft', 'lookup', stdin='there was a dog.\nAnd a cat.')
        self.assertEqual([t['text'] for t in drafted['turns']], [first['text'], second['text']])

    def test_run_with_the_template_is_the_first_turn(self):
        chat = self.json('chat', self.model, '--max-tokens', '20', '--system', 'Once', stdin='there was a dog.')
        run = self.json('run', self.model, '--chat', '--system', 'Once', '--prompt', 'there was a dog.', '--max-tokens', '20')
        self.assertEqual(run['text'], chat['turns'][0]['text'])
        self.assertEqual(run['prompt_tokens'], chat['turns'][0]['prompt_tokens'])
        self.refused(USAGE, '--chat', 'run', self.model, '--system', 'Once', '--prompt', 'x')

    def test_oldest_turns_go_when_the_context_is_full(self):
        done = run('chat', self.model, '--max-tokens', '24', '--ctx', '96', '--ignore-end',
                   stdin='Tell me of the little dog.\n' * 5)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(done.stdout.strip().split('\n')) >= 5, True, done.stdout)
        self.assertIn('oldest messages are forgotten', done.stderr)

    def test_refusals(self):
        self.refused(USAGE, 'has no chat template', 'chat', STORIES, stdin='Hello')
        self.refused(USAGE, 'has no chat template', 'run', STORIES, '--chat', '--prompt', 'Hello')
        (self.model / 'chat_template.jinja').write_text("{{ raise_exception('roles must alternate') }}")
        done = run('chat', self.model, stdin='Hello')
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('roles must alternate', done.stderr)

    def test_interrupt_stops_the_answer(self):
        child = subprocess.Popen([BINARY, 'chat', str(self.model), '--ignore-end', '--max-tokens', '1000000', '--ctx', '100000'],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        child.stdin.write(b'Hello\n')
        child.stdin.flush()
        self.assertNotEqual(child.stdout.read(1), b'')
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
        self.assertEqual(child.returncode, INTERRUPTED)

    def test_on_a_terminal(self):
        """Ctrl-C ends the answer and not the chat; the terminal is as it was."""
        try:
            master, slave = pty.openpty()
        except OSError as error:
            self.skipTest(f'no pseudo-terminal on this machine: {error}')
        before = termios.tcgetattr(slave)
        child = subprocess.Popen([BINARY, 'chat', str(self.model), '--ignore-end', '--max-tokens', '1000000', '--ctx', '100000'],
                                 stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                 preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))

        def until(text, limit=60):
            seen, end = b'', time.monotonic() + limit
            while text not in seen:
                self.assertLess(time.monotonic(), end, seen)
                if select.select([master], [], [], 1)[0]:
                    seen += os.read(master, 4096)
            return seen

        until(b'> ')
        os.write(master, b'Hello\n')
        until(b'Hello\r\n')
        for _ in range(5):
            os.read(master, 64)
        os.write(master, b'\x03')
        until(b'\r\n> ')
        os.write(master, b'/stats\n')
        until(b'> ')
        os.write(master, b'\x04')
        while child.poll() is None:
            if select.select([master], [], [], 0.1)[0]:
                os.read(master, 4096)
        self.assertEqual(child.returncode, 0)
        self.assertEqual(termios.tcgetattr(slave), before)
        os.close(master)
        os.close(slave)


TEXT = ' '.join(['Once upon a time there was a little girl named Lily. She loved to play in the park with her dog.'] * 40)


if __name__ == '__main__':
    unittest.main()
