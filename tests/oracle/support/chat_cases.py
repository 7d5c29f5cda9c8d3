"""Conversations to render with every chat template."""
import json

NOW = 1750000000
TOOL = {'type': 'function', 'function': {'name': 'get_weather', 'description': 'Weather "here" & <there>, été',
                                         'parameters': {'type': 'object', 'properties': {'city': {'type': 'string', 'description': 'City'},
                                                                                         'days': {'type': 'integer'}}, 'required': ['city']}}}
CALL = [{'id': 'call00001', 'type': 'function', 'function': {'name': 'get_weather', 'arguments': {'city': 'Köln', 'days': 2, 'x': 1.5, 'y': None}}}]


def message(role, content, **extra):
    out = {'role': role, 'content': content}
    if extra:
        out['extra'] = json.dumps(extra)
    return out


def cases():
    """(name, messages, options); content is always a string, other fields are in `extra` as JSON."""
    chats = {
        'user': [message('user', 'Hi there!  ')],
        'system': [message('system', ' You are terse.\n'), message('user', 'Hi'), message('assistant', 'Hello.'), message('user', ' Why?\n')],
        'turns': [message('user', 'a'), message('assistant', ' b '), message('user', "c 'd' \"e\""), message('assistant', '<think>\nhm\n</think>\n\nf')],
        'thinking': [message('user', 'a'), message('assistant', 'b', reasoning_content='so\nit goes'), message('user', 'c'),
                     message('assistant', 'd', reasoning_content='then')],
        'odd': [message('user', ''), message('assistant', '{{ x }} {% if %} 你好 👩‍👧'), message('user', '\n\n')],
        'wrong order': [message('assistant', 'x'), message('assistant', 'y')],
        'empty': [],
        'tool': [message('user', 'Weather?'), message('assistant', '', tool_calls=CALL), message('tool', '{"t": 21}', name='get_weather', tool_call_id='call00001'),
                 message('assistant', '21 °C.'), message('user', 'Thanks')],
    }
    for name, messages in chats.items():
        for generate in (False, True):
            options = {'add_generation_prompt': generate, 'bos_token': '<s>', 'eos_token': '</s>', 'now': NOW}
            yield f'{name}, generate={generate}', messages, options
            if name in ('user', 'tool', 'system'):
                yield f'{name}, tools, generate={generate}', messages, {**options, 'tools': json.dumps([TOOL, TOOL])}
            if name in ('user', 'thinking'):
                for on in (False, True):
                    yield f'{name}, thinking={on}, generate={generate}', messages, {**options, 'kwargs': json.dumps({'enable_thinking': on})}
