"""Chat templates against transformers' own rendering: those of tests/golden/chat_templates, the one in SmolLM2's GGUF, and any
*.jinja in the folder SPARING_TEMPLATES names (models' own, llama.cpp's collection). Sparing may refuse by name; it may not differ."""
import json
import os
import pathlib
import subprocess
import sys
import time

import transformers.utils.chat_template_utils as chat
from chat_cases import NOW, cases
from oracle_support import MODELS, PROBE, skip

HERE = pathlib.Path(__file__).resolve().parent


class FixedTime(chat.datetime):
    @classmethod
    def now(cls):
        return cls.fromtimestamp(NOW)


def main():
    os.environ['TZ'] = 'UTC'
    time.tzset()
    chat.datetime = FixedTime
    templates = {p.stem: p.read_text(encoding='utf-8') for p in sorted((HERE.parent / 'golden/chat_templates').glob('*.jinja'))}
    if (MODELS / 'smollm2.gguf').exists():
        import gguf
        templates['smollm2.gguf'] = gguf.GGUFReader(str(MODELS / 'smollm2.gguf')).fields['tokenizer.chat_template'].contents()
    extra = os.environ.get('SPARING_TEMPLATES')
    if extra:
        templates.update({p.name: p.read_text(encoding='utf-8') for p in sorted(pathlib.Path(extra).glob('*.jinja'))})
    if not templates:
        skip('no templates')
    ours = subprocess.Popen([pathlib.Path(PROBE).with_name('oracle_render_chat')], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                            env={**os.environ, 'TZ': 'UTC'})
    same = different = 0
    refused = {}
    for name, template in templates.items():
        for case, messages, options in cases():
            kwargs = json.loads(options.get('kwargs', '{}'))
            tools = json.loads(options['tools']) if 'tools' in options else None
            plain = [{'role': m['role'], 'content': m['content'], **json.loads(m.get('extra', '{}'))} for m in messages]
            try:
                want = chat.render_jinja_template([plain], tools=tools, chat_template=template, add_generation_prompt=options['add_generation_prompt'],
                                                  bos_token=options['bos_token'], eos_token=options['eos_token'], **kwargs)[0][0]
            except Exception as e:  # noqa: BLE001: whatever the template or Jinja raises
                want = e
            ours.stdin.write(json.dumps({'template': template, 'messages': messages, 'options': options}) + '\n')
            ours.stdin.flush()
            got = json.loads(ours.stdout.readline())
            if isinstance(want, Exception) and 'error' in got:
                same += 1
            elif not isinstance(want, Exception) and got.get('text') == want:
                same += 1
            elif 'error' in got and 'support' in got['error']:
                refused.setdefault((name, got['error'][:160]), []).append(case)
            else:
                different += 1
                print(f'DIFFERS: {name}, {case}\n theirs {want!r}\n ours   {got!r}'[:3000])
    for (name, why), where in refused.items():
        print(f'refused: {name} ({len(where)} cases): {why}')
    print(f'{len(templates)} templates: {same} renderings agree, {different} differ, {sum(map(len, refused.values()))} refused by name')
    sys.exit(1 if different else 0)


main()
