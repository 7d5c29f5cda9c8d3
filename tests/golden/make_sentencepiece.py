"""make_sentencepiece.py: writes sentencepiece/tokenizer.model and cases.json beside it, with PyPI's sentencepiece."""
import io
import json
import pathlib

import sentencepiece

folder = pathlib.Path(__file__).parent
text = (folder.parent / 'data/prose.txt').read_text()
model = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(text.splitlines()), model_writer=model, vocab_size=420, model_type='bpe', byte_fallback=True,
    normalization_rule_name='identity', remove_extra_whitespaces=False, minloglevel=2)
(folder / 'sentencepiece/tokenizer.model').write_bytes(model.getvalue())
processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
cases = [text[:300], 'the tides of the sea', '  two  spaces', '\tTab and\nline', 'naïve 日本語 🙂', '123.45', '']
lines = [{'text': case, 'ids': processor.encode(case)} for case in cases]
(folder / 'sentencepiece/cases.json').write_text(json.dumps(lines, ensure_ascii=False, indent=0) + '\n')
