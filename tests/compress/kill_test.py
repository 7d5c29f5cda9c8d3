"""kill_test.py BUILD_FOLDER KILLS MODEL [OPTION...]: `compress` survives SIGKILL.

Compresses MODEL once without interruption, then again with KILLS kills at random moments, each time going on with the same
command, and compares the directories byte for byte. A killed run that had finished before its kill counts as none.
"""
import hashlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time


def digest(folder):
    """Name and SHA-256 of every file."""
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(pathlib.Path(folder).rglob('*')) if p.is_file()}


def run_to_end(command):
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f'{" ".join(command)}: exit {done.returncode}\n{done.stderr}')
    return time.monotonic() - start


def kills(command, out, wanted, whole, seed=1):
    """Runs `command` (which writes `out`) until it has been killed `wanted` times, each round from nothing; returns the digests of
    the finished rounds and how many kills there were. Several kills may hit one round."""
    chance = random.Random(seed)
    digests, done_kills = [], 0
    while done_kills < wanted:
        for attempt in range(1000):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                # Killed somewhere in the time that a whole run takes: what is left gets shorter with each kill.
                if done_kills < wanted and attempt < 8:
                    _, errors = process.communicate(timeout=chance.uniform(0, whole))
                else:
                    _, errors = process.communicate()
            except subprocess.TimeoutExpired:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    done_kills += 1
                process.communicate()
                # Whatever is there by its final name is complete; without a journal beside it, the run had ended.
                if out.exists():
                    digests.append(digest(out))
                    if [p.name for p in out.parent.iterdir()] == [out.name]:
                        break
                continue
            if process.returncode:
                sys.exit(f'after {done_kills} kills: exit {process.returncode}\n{errors.decode(errors="replace")}')
            break
        digests.append(digest(out))
        left = [p.name for p in out.parent.iterdir() if p != out]
        if left:
            sys.exit(f'left behind beside {out.name}: {left}')
        for path in sorted(out.rglob('*'), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        out.rmdir()
    return digests, done_kills


def main():
    build, wanted, model, options = pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
    with tempfile.TemporaryDirectory(dir=os.environ.get('TMPDIR')) as name:
        folder = pathlib.Path(name)
        (folder / 'whole').mkdir()
        (folder / 'killed').mkdir()
        base = [str(build / 'sparing'), 'compress', model, *options, '--quiet', '--out']
        whole = run_to_end([*base, str(folder / 'whole' / 'model')])
        expected = digest(folder / 'whole' / 'model')
        print(f'uninterrupted: {whole:.1f} s, {len(expected)} files', flush=True)
        digests, hits = kills([*base, str(folder / 'killed' / 'model')], folder / 'killed' / 'model', wanted, whole)
        bad = sum(d != expected for d in digests)
        print(f'{hits} kills, {len(digests)} outputs seen, {bad} differ from the uninterrupted one')
        if bad or not digests:
            sys.exit(1)


if __name__ == '__main__':
    main()
