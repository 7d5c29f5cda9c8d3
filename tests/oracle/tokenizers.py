"""Every kind of tokenizer against PyPI's tokenizers and sentencepiece on a mix of texts: the same ids, the same text back."""
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import sample_tokenizers as make
import sentencepiece
from oracle_support import DATA, MODELS, PROBE
from text_mix import SENTENCES, documents
from tokenizers import Tokenizer

TOOL = pathlib.Path(PROBE).with_name('oracle_tokenize')


class Ours:
    def __init__(self, path, *arguments):
        self.process = subprocess.Popen([TOOL, path, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def send(self, command, *parts):
        self.process.stdin.write(command + b''.join(struct.pack('<I', p) if isinstance(p, int) else p for p in parts))
        self.process.stdin.flush()

    def number(self):
        return struct.unpack('<I', self.process.stdout.read(4))[0]

    def block(self):
        return self.process.stdout.read(self.number())

    def encode(self, text, add_special=False, parse_special=False):
        self.send(b'e', add_special + 2 * parse_special, len(text), text)
        count = self.number()
        return list(struct.unpack(f'<{count}i', self.process.stdout.read(4 * count)))

    def decode(self, ids, skip_special=False):
        self.send(b'd', int(skip_special), len(ids), struct.pack(f'<{len(ids)}i', *ids))
        return self.block()

    def compact(self):
        self.send(b'c')
        return self.block()

    def through_gguf(self):
        self.send(b'g')

    def json(self):
        self.send(b'j')
        size = self.number()
        return None if size == 0xFFFFFFFF else self.process.stdout.read(size)

    def time(self, text):
        self.send(b't', len(text), text)
        return self.number() * 1e-6

    def load_time(self):
        self.send(b'l')
        return self.number() * 1e-6


def differ(name, what, text, theirs, ours, pieces=lambda ids: ids):
    at = next((i for i, (a, b) in enumerate(zip(theirs, ours)) if a != b), min(len(theirs), len(ours)))
    theirs, ours = pieces(theirs), pieces(ours)
    sys.exit(f'DIFFERS: {name}, {what}, {text[:300]!r}\n at {at}: theirs {theirs[at:at + 12]!r}\n ours {ours[at:at + 12]!r}')


def compare(name, theirs, ours, texts, promised):
    total = 0
    for text in texts:
        read = text.decode(errors='replace')
        total += len(text)
        for add, parse in ((False, False), (True, True)):
            theirs.encode_special_tokens = not parse
            want = theirs.encode(read, add_special_tokens=add).ids
            got = ours.encode(text, add, parse)
            if want != got:
                differ(name, f'encode add_special={add} parse_special={parse}', text, want, got,
                       lambda ids: [theirs.id_to_token(i) for i in ids])
        for skip in (False, True):
            back = ours.decode(got, skip)
            if theirs.decode(got, skip_special_tokens=skip) != back.decode(errors='replace'):
                differ(name, f'decode skip_special={skip}', text, theirs.decode(got, skip_special_tokens=skip), back.decode(errors='replace'))
        if promised and ours.decode(ours.encode(text)) != read.encode():
            differ(name, 'decode(encode)', text, read, ours.decode(ours.encode(text)).decode(errors='replace'))
    return total


def compare_sentencepiece(name, theirs, ours, texts):
    """The library's versions break ties between equally probable Unigram segmentations differently; nothing else may differ."""
    total = ties = 0
    for text in texts:
        read = text.decode(errors='replace')
        total += len(text)
        want, got = theirs.encode(read), ours.encode(text)
        if want != got:
            score = [sum(theirs.get_score(i) for i in ids) for ids in (want, got)]
            if 'unigram' not in name or abs(score[0] - score[1]) > 1e-3 or theirs.decode(want) != theirs.decode(got):
                differ(name, 'encode', text, want, got)
            ties += 1
        if theirs.decode(want) != ours.decode(want, True).decode(errors='replace'):
            differ(name, 'decode', text, theirs.decode(want), ours.decode(want, True).decode(errors='replace'))
    return total, ties


def main():
    only = os.environ.get('ONLY', '').split(',') if os.environ.get('ONLY') else None
    texts = documents()
    lines = [line for t in texts[:3000:3] for line in t.decode(errors='replace').splitlines()] + SENTENCES
    lines = [l.replace('\x00', '') for l in lines if l.strip()][:6000]
    plain = [l for l in lines if l.isascii()] + SENTENCES * 3
    long = b''.join(texts)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)

        def check(name, theirs, path=None, promised=True, *arguments):
            if only and name not in only:
                return
            if path is None:
                path = folder / f'{name}.json'
                path.write_text(theirs.to_str(), encoding='utf-8')
            ours = Ours(path, *arguments)
            size = compare(name, theirs, ours, texts, promised)
            ours.time(long)
            seconds = ours.time(long)
            compact = len(ours.compact())
            compare(name + ', compact', theirs, ours, texts[::7], promised)
            load = min(ours.load_time() for _ in range(5))
            exported = ours.json()
            note = 'not exported'
            if exported is not None:
                compare(name + ', exported', Tokenizer.from_str(exported.decode()), ours, texts[::7], promised)
                note = 'tokenizer.json agrees'
            print(f'{name}: {size:,} bytes agree; {len(long) / seconds / 1e6:.1f} MB/s; compact {compact:,} bytes, loads in {load * 1e3:.1f} ms; {note}')

        if (MODELS / 'smollm2.gguf').exists():
            check('smollm2', make.smollm(MODELS / 'smollm2.gguf'), MODELS / 'smollm2.gguf', False)
        if (DATA / 'gpt2-tokenizer').exists():
            check('gpt2', make.gpt2(DATA))
        check('llama3', make.llama3(lines))
        check('qwen2', make.qwen2(lines), promised=False)
        check('tekken', make.trained(lines, make.split(make.TEKKEN), 2000, ignore_merges=True))
        check('odd', make.odd(lines), promised=False)
        check('words', make.words(lines), promised=False)
        check('unigram', make.unigram(plain), promised=False)
        check('unigram-bytes', make.unigram(plain, byte_fallback=True), promised=False)
        bpe = make.sentencepiece_model(plain, folder / 'bpe')
        check('llama2', make.llama2(bpe), promised=False)
        check('llama2-metaspace', make.llama2(bpe, legacy=False), promised=False)
        for name, kind, options in (('sentencepiece-bpe', 'bpe', {}), ('sentencepiece-unigram', 'unigram', {}),
                                    ('sentencepiece-unigram-nfkc', 'unigram', dict(normalization_rule_name='nmt_nfkc', remove_extra_whitespaces=True))):
            if only and name not in only:
                continue
            model = make.sentencepiece_model(plain, folder / name, kind, **options)
            theirs, ours = sentencepiece.SentencePieceProcessor(model_file=str(model)), Ours(model)
            size, ties = compare_sentencepiece(name, theirs, ours, texts)
            if kind == 'bpe':
                ours.through_gguf()
                compare_sentencepiece(name + ', through GGUF', theirs, ours, texts)
            print(f'{name}: {size:,} bytes agree' + f' but for {ties} ties' * bool(ties))


main()
