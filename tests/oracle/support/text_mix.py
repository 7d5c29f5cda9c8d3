"""At least a megabyte of mixed text for tokenizers, the same at every run."""
import random

from oracle_support import DATA

SENTENCES = [
    'All human beings are born free and equal in dignity and rights.', "It's what we'll do; they'd've said I'm wrong, DON'T THEY'RE SAY'S?",
    '人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。',
    'すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。',
    '모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.',
    'يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق، وقد وُهبوا عقلًا وضميرًا.',
    'सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।',
    'Все люди рождаются свободными и равными в своём достоинстве и правах.',
    'Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια.', 'มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ',
    'Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm.', 'e\u0301 a\u030a o\u0308\u0323 \u1100\u1161\u11a8 ﬁ ﬀ ① Å K ½ ²',
    '👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇫🇷🇩🇪 ❤️‍🔥 🧑🏿‍💻 😀😃', '0 12 345 6789 1,234,567.89 0x1F 3e-7 ١٢٣٤ १२३ Ⅷ ㊿ ½ 𝟘𝟙',
    "for (int i = 0; i < n; ++i) {\n\t\tsum += a[i] * b[i];  // don't\n\t}\r\n\r\n", 'def f(x):\n    """Doc."""\n    return {k: v for k, v in x.items()}\n\n\n',
    '<|im_start|>user\nHi<|im_end|>\n', '<s>[INST] x [/INST]</s> <unk> <0x41> ▁▁x', "'ſ 'S 'LL 'Ve don’t l'été", '    \t \n \r\n\n\n   x\u00a0\u00a0y\u3000z\u2003\u2028\u2029\u0085\u200b\ufeff',
    '\x00\x01\x7f\u00ad\u202e', '----====____****####!!!??...,,,;;;(((([[[{{{', '\U000323b0\U0001f9ff\U00011de0\U000e0041\u0378',
]
BLOCKS = [(0x20, 0x7f), (0xa0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x5d0, 0x600), (0x600, 0x700), (0x900, 0x980), (0xe00, 0xe60),
          (0x1100, 0x1200), (0x1e00, 0x2070), (0x2070, 0x2c00), (0x3000, 0x3100), (0x4e00, 0x9fff), (0xac00, 0xd7a4), (0xf900, 0xfb00),
          (0xfb00, 0x10000), (0x10000, 0x12000), (0x1d100, 0x1d800), (0x1f300, 0x1fb00), (0x20000, 0x20400)]


def documents(seed=1):
    """A list of byte strings, some of them not UTF-8."""
    rng = random.Random(seed)
    sources = []
    for name in ('wikitext-2-raw/wiki.test.raw', 'gsm8k/test.jsonl', 'tinyshakespeare/input.txt', 'wikitext-2/valid.txt'):
        if (DATA / name).exists():
            sources.append((DATA / name).read_text(encoding='utf-8')[:150_000])
    mixed = []
    while sum(map(len, mixed)) < 250_000:
        mixed.append(rng.choice(SENTENCES) + rng.choice(['', ' ', '\n', '  ', '\n\n', '\t']))
    sources.append(''.join(mixed))
    letters = []
    while len(letters) < 120_000:
        low, high = rng.choice(BLOCKS)
        letters += [chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 12))]
        letters.append(rng.choice(['', ' ', '  ', '\n', ' \n ', '\t', "'s", '1']))
    sources.append(''.join(c for c in letters if not '\ud800' <= c <= '\udfff'))
    anything = [chr(c) for c in range(1, 0x110000) if not 0xd800 <= c <= 0xdfff and (c < 0x32400 or c % 97 == 0)]
    rng.shuffle(anything)
    sources.append(''.join(anything[:60_000]))
    out = [b'', b' ', b'\n', b'a', '▁'.encode(), b'  ']
    for text in sources:
        at = 0
        while at < len(text):
            size = rng.choice([1, 2, 3, 7, 20, 100, 700, 4000])
            out.append(text[at:at + size].encode())
            at += size
    sample = '\n'.join(SENTENCES).encode()
    for _ in range(400):
        at = rng.randrange(len(sample) - 60)
        piece = bytearray(sample[at:at + rng.randrange(1, 60)])
        for _ in range(rng.randrange(4)):
            piece[rng.randrange(len(piece))] = rng.randrange(256)
        out.append(bytes(piece))
    out += [bytes([a, b]) for a in range(0x7f, 256, 3) for b in range(0, 256, 7)]
    out += [b'\xf0\x9f\x98', b'\xed\xa0\x80', b'\xf4\x90\x80\x80', b'\xc0\xaf', b'\xe0\x80\x80x', b'\xff' * 5]
    return out
