"""Tokenizers of every kind that Sparing reads, built or trained here (the packages fetch nothing), as files to load."""
import json
import pathlib

import gguf
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers.pre_tokenizers import ByteLevel, Digits, Metaspace, Split

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r'\p{N}{1,3}', r'\p{N}')
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
          r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def special(*names):
    return [AddedToken(n, special=True, normalized=False) for n in names]


def byte_level(vocab, merges, pre, normalizer=None, post=None, **options):
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges, **options))
    t.pre_tokenizer, t.decoder = pre, decoders.ByteLevel()
    if normalizer:
        t.normalizer = normalizer
    if post:
        t.post_processor = post
    return t


def gguf_vocab(path):
    fields = gguf.GGUFReader(str(path)).fields
    return {k[len('tokenizer.ggml.'):]: f.contents() for k, f in fields.items() if k.startswith('tokenizer.ggml.')}


def smollm(path):
    """What SmolLM2's own tokenizer.json holds, from its GGUF."""
    v = gguf_vocab(path)
    t = byte_level({p: i for i, p in enumerate(v['tokens'])}, [tuple(m.split(' ')) for m in v['merges']],
                   pre_tokenizers.Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]))
    t.add_special_tokens(special(*(p for p, kind in zip(v['tokens'], v['token_type']) if kind == 3)))
    return t


def gpt2(data):
    merges = [tuple(m.split(' ')) for m in (data / 'gpt2-tokenizer/gpt2_merges.txt').read_text(encoding='utf-8').splitlines() if m and m[0] != '#']
    vocab = json.loads((data / 'gpt2-tokenizer/gpt2_vocab.json').read_text(encoding='utf-8'))
    t = byte_level(vocab, merges, ByteLevel(add_prefix_space=False))
    t.add_special_tokens(special('<|endoftext|>'))
    return t


def trained(lines, pre, size, normalizer=None, **options):
    t = Tokenizer(models.BPE(**options))
    t.pre_tokenizer, t.decoder = pre, decoders.ByteLevel()
    if normalizer:
        t.normalizer = normalizer
    t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=size, initial_alphabet=ByteLevel.alphabet(), show_progress=False))
    return t


def split(pattern):
    return pre_tokenizers.Sequence([Split(Regex(pattern), 'isolated'), ByteLevel(add_prefix_space=False, use_regex=False)])


def llama3(lines, size=3000):
    t = trained(lines, split(LLAMA3), size, ignore_merges=True)
    t.add_special_tokens(special('<|begin_of_text|>', '<|eot_id|>', '<|start_header_id|>'))
    bos = '<|begin_of_text|>'
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False),
                                            processors.TemplateProcessing(single=f'{bos} $A', special_tokens=[(bos, t.token_to_id(bos))])])
    return t


def qwen2(lines, size=3000):
    t = trained(lines, split(QWEN2), size, normalizers.NFC())
    t.add_special_tokens(special('<|endoftext|>', '<|im_start|>', '<|im_end|>'))
    t.add_tokens([AddedToken('<tool_call>', normalized=False), AddedToken('</tool_call>', normalized=False)])
    return t


def odd(lines, size=600):
    """Added tokens with every option, and a pattern that is no model's."""
    t = trained(lines, split(r'\p{L}+|\p{N}{1,2}|[^\p{L}\p{N}]+?(?=\p{L}|$)'), size, normalizers.NFC())
    t.add_special_tokens([AddedToken('<|im_start|>', lstrip=True, rstrip=True, normalized=False, special=True)])
    t.add_tokens([AddedToken('free', single_word=True), AddedToken('def', single_word=True, normalized=False), AddedToken('<unk>', lstrip=True),
                  AddedToken('\u00e9', rstrip=True), AddedToken('  ', normalized=False), AddedToken('=-', normalized=False), AddedToken('====', normalized=False)])
    return t


def sentencepiece_model(lines, prefix, kind='bpe', size=1500, **options):
    given = dict(byte_fallback=True, normalization_rule_name='identity', remove_extra_whitespaces=False, character_coverage=0.999,
                 split_digits=True, allow_whitespace_only_pieces=True, num_threads=1)
    given.update(options)
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_prefix=str(prefix), model_type=kind, vocab_size=size,
                                             minloglevel=2, **given)
    return pathlib.Path(f'{prefix}.model')


def llama2(model, legacy=True):
    """A tokenizer.json from a SentencePiece BPE model, as transformers writes it."""
    sp = sentencepiece.SentencePieceProcessor(model_file=str(model))
    pieces = [(sp.id_to_piece(i), sp.get_score(i)) for i in range(sp.get_piece_size())]
    vocab = {p: i for i, (p, _) in enumerate(pieces)}
    merges = []
    for piece, score in pieces:
        local = [(piece[:i], piece[i:]) for i in range(1, len(piece)) if piece[:i] in vocab and piece[i:] in vocab]
        local.sort(key=lambda lr: (vocab[lr[0]], vocab[lr[1]]))
        merges += [(l, r, score) for l, r in local]
    merges.sort(key=lambda m: -m[2])
    t = Tokenizer(models.BPE(vocab=vocab, merges=[(l, r) for l, r, _ in merges], unk_token='<unk>', fuse_unk=True, byte_fallback=True))
    if legacy:
        t.normalizer = normalizers.Sequence([normalizers.Prepend('▁'), normalizers.Replace(' ', '▁')])
        t.decoder = decoders.Sequence([decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(' ', 1, 0)])
    else:
        t.pre_tokenizer = Metaspace(prepend_scheme='first', split=False)
        t.decoder = decoders.Sequence([decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(' ', 1, 0)])
    t.add_special_tokens(special('<unk>', '<s>', '</s>'))
    t.post_processor = processors.TemplateProcessing(single='<s> $A', special_tokens=[('<s>', 1)])
    return t


def unigram(lines, size=1500, byte_fallback=False):
    t = Tokenizer(models.Unigram())
    t.pre_tokenizer = Metaspace()
    t.decoder = decoders.Metaspace()
    names = ['<unk>', '<s>', '</s>'] + [f'<0x{b:02X}>' for b in range(256)] * byte_fallback
    t.train_from_iterator(lines, trainers.UnigramTrainer(vocab_size=size, special_tokens=names[:3], unk_token='<unk>', show_progress=False))
    if byte_fallback:
        made = json.loads(t.to_str())
        made['model']['vocab'] += [[n, -20.0] for n in names[3:]]
        made['model']['byte_fallback'] = True
        made['decoder'] = {'type': 'Sequence', 'decoders': [{'type': 'ByteFallback'}, {'type': 'Metaspace', 'replacement': '▁', 'prepend_scheme': 'always', 'split': True}]}
        t = Tokenizer.from_str(json.dumps(made))
    return t


def words(lines, size=800):
    t = Tokenizer(models.BPE(unk_token='<unk>'))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), Digits(individual_digits=False), Split('e', 'merged_with_previous')])
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Strip(), normalizers.Replace(Regex(r'[,;]+'), ' . ')])
    t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=size, special_tokens=['<unk>'], show_progress=False))
    return t
