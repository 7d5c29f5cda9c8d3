#!/usr/bin/env python3
"""Writes tests/golden/chat_templates/answers.json: what transformers makes of the templates there (written for this test, in
the manner of the families' own and with the constructs those use). Needs tests/oracle/requirements.txt:
    SPARING=- PROBE=- SPARING_MODELS=models SPARING_DATA=../shared/data PYTHONPATH=tests/oracle/support python3 -P tests/golden/make_chat_templates.py
"""
import json
import os
import pathlib
import time

import transformers.utils.chat_template_utils as chat
from chat_cases import NOW, cases

HERE = pathlib.Path(__file__).resolve().parent / 'chat_templates'


class FixedTime(chat.datetime):
    @classmethod
    def now(cls):
        return cls.fromtimestamp(NOW)


os.environ['TZ'] = 'UTC'
time.tzset()
chat.datetime = FixedTime
all_cases = list(cases())
answers = {}
for path in sorted(HERE.glob('*.jinja')):
    rendered = []
    for _, messages, options in all_cases:
        plain = [{'role': m['role'], 'content': m['content'], **json.loads(m.get('extra', '{}'))} for m in messages]
        try:
            rendered.append(chat.render_jinja_template([plain], tools=json.loads(options['tools']) if 'tools' in options else None,
                                                       chat_template=path.read_text(encoding='utf-8'), add_generation_prompt=options['add_generation_prompt'],
                                                       bos_token=options['bos_token'], eos_token=options['eos_token'],
                                                       **json.loads(options.get('kwargs', '{}')))[0][0])
        except Exception:  # noqa: BLE001: the test expects a refusal
            rendered.append(None)
    answers[path.stem] = rendered
given = [{'name': name, 'messages': messages, 'options': options} for name, messages, options in all_cases]
(HERE / 'answers.json').write_text(json.dumps({'cases': given, 'answers': answers}, ensure_ascii=False, separators=(',', ':')) + '\n', encoding='utf-8')
