#!/usr/bin/env python3
"""Writes tests/golden/tokenizers/: small tokenizers of every kind, and what PyPI's tokenizers and sentencepiece make of some
texts with them. Needs tests/oracle/requirements.txt, the model and the data:
    SPARING=- PROBE=- SPARING_MODELS=models SPARING_DATA=../shared/data PYTHONPATH=tests/oracle/support python3 -P tests/golden/make_tokenizers.py
"""
import json
import os
import pathlib
import struct

import sample_tokenizers as make
import sentencepiece
from oracle_support import DATA, MODELS
from text_mix import SENTENCES
from tokenizers import Tokenizer, decoders, models, normalizers, processors

OUT = pathlib.Path(__file__).resolve().parent / 'tokenizers'
TEXTS = [s.encode() for s in SENTENCES] + [b'', b' ', b'  a  b ', b'\xf0\x9f\x98 cut \xed\xa0\x80\xff!', b'1234567890 12', ' def free '.encode(),
                                           '<|im_start|> x <tool_call>y</s>'.encode(), b'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa']


def stories(path):
    """llama2.c's tokenizer.bin as tokenizers would have it."""
    data, at, pieces = path.read_bytes(), 4, []
    while at < len(data):
        score, size = struct.unpack_from('<fi', data, at)
        pieces.append((data[at + 8:at + 8 + size].decode(), score))
        at += 8 + size
    pieces[1], pieces[2] = ('<s>', 0.0), ('</s>', 0.0)
    vocab = {p: i for i, (p, _) in enumerate(pieces)}
    merges = [(p[:i], p[i:], -s, vocab[p[:i]], vocab[p[i:]]) for p, s in pieces[259:] for i in range(1, len(p)) if p[:i] in vocab and p[i:] in vocab]
    merges.sort(key=lambda m: m[2:])
    t = Tokenizer(models.BPE(vocab=vocab, merges=[m[:2] for m in merges], unk_token='<unk>', byte_fallback=True))
    t.normalizer = normalizers.Prepend(' ')
    t.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(' ', 1, 0)])
    t.add_special_tokens(make.special('<unk>', '<s>', '</s>'))
    t.post_processor = processors.TemplateProcessing(single='<s> $A', special_tokens=[('<s>', 1)])
    return t


def hashed(ids):
    """FNV-1a over the ids' bytes: the lists themselves would double the file."""
    h = 0xcbf29ce484222325
    for byte in struct.pack(f'<{len(ids)}i', *ids):
        h = (h ^ byte) * 0x100000001b3 % 2**64
    return f'{h:016x}'


def answers(t):
    out = {'plain': [], 'special': [], 'text': []}
    for text in TEXTS:
        read = text.decode(errors='replace')
        t.encode_special_tokens = True
        out['plain'].append(t.encode(read, add_special_tokens=False).ids)
        t.encode_special_tokens = False
        ids = t.encode(read).ids
        out['special'].append(hashed(ids))
        out['text'].append(t.decode(ids))
    # Only where it is not what went in: the test expects that otherwise.
    out['text'] = {str(i): d for i, d in enumerate(out['text']) if d != TEXTS[i].decode(errors='replace')}
    return out


def main():
    OUT.mkdir(exist_ok=True)
    os.chdir(OUT)  # a SentencePiece model keeps the name it was trained under
    lines = SENTENCES * 2
    golden = {}

    def keep(name, t):
        (OUT / f'{name}.json').write_text(json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(',', ':')), encoding='utf-8')
        golden[name] = answers(t)

    keep('llama3', make.llama3(lines, 420))
    keep('qwen2', make.qwen2(lines, 420))
    keep('tekken', make.trained(lines, make.split(make.TEKKEN), 400, ignore_merges=True))
    keep('odd', make.odd(lines, 400))
    keep('words', make.words(lines, 400))
    keep('unigram', make.unigram(lines, 500))
    keep('unigram-bytes', make.unigram(lines, 500, byte_fallback=True))
    options = dict(size=600, character_coverage=0.98)
    lines = [s for s in SENTENCES if max(s) < '\u0500'] * 4
    model = make.sentencepiece_model(lines, 'llama2', **options)
    model.with_suffix('.vocab').unlink()
    keep('llama2', make.llama2(model))
    keep('llama2-metaspace', make.llama2(model, legacy=False))
    squeezed = make.sentencepiece_model(lines, 'squeezed', normalization_rule_name='identity', remove_extra_whitespaces=True, **options)
    squeezed.with_suffix('.vocab').unlink()
    for name, path in (('llama2', model), ('squeezed', squeezed)):
        sp = sentencepiece.SentencePieceProcessor(model_file=str(path))
        golden[f'{name}.model'] = {'plain': [sp.encode(t.decode(errors='replace')) for t in TEXTS]}
    golden['smollm2'] = answers(make.smollm(MODELS / 'smollm2.gguf'))
    golden['stories260K'] = answers(stories(DATA / 'stories260K/tokenizer.bin'))
    (OUT / 'answers.json').write_text(json.dumps({'texts': [t.hex() for t in TEXTS], 'answers': golden}, ensure_ascii=False, separators=(',', ':')) + '\n', encoding='utf-8')


main()
