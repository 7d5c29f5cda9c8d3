#!/usr/bin/env python3
"""The layer rule: a folder under src includes only itself and the folders above it in ORDER.

Besides: only lab/ (and what is built into sparing-lab) reaches libtorch, methods know mathematics but no files, servers or
each other, and serve/ does not know the lab. Files over 500 lines are listed, since each wants a reason or a split.
Usage: check_layers.py [--self-test]
"""
import pathlib
import re
import sys
import tempfile

ORDER = 'base tensor codecs kernels formats text models runtime lab methods eval plan serve cli'.split()
LIBTORCH = re.compile(r'^(torch|ATen|c10)/')
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.M)
# What methods may see of the layers above them in ORDER.
METHODS_SEE = re.compile(r'(base|tensor|codecs)/|lab/math/|methods/[^/]+$')
LONG = 500


def may_use_libtorch(file):
    """sparing-lab's own code: lab/ but its torch-free mathematics, and cli/lab_*."""
    return (file.startswith('lab/') and not file.startswith('lab/math/')) or file.startswith('cli/lab')


def is_test(file):
    return file.endswith(('_test.cpp', '_fuzz.cpp'))


def check(src):
    files = sorted(p for p in src.rglob('*') if p.suffix in ('.h', '.cpp', '.cu', '.def'))
    includes, problems, long_files = {}, [], []
    for path in files:
        text = path.read_text(encoding='utf-8')
        name = path.relative_to(src).as_posix()
        includes[name] = [(kind, target) for kind, target in INCLUDE.findall(text)]
        lines = text.count('\n')
        if lines > LONG:
            long_files.append(f'src/{name}: {lines} lines')

    direct = {f: any(LIBTORCH.match(t) for _, t in found) for f, found in includes.items()}
    seen = {}

    def reaches_libtorch(file):
        if file not in seen:
            seen[file] = False  # a cycle adds nothing
            seen[file] = direct.get(file, False) or any(reaches_libtorch(t) for _, t in includes.get(file, []))
        return seen[file]

    for file, found in includes.items():
        layer = file.split('/')[0]
        if layer not in ORDER:
            problems.append(f'src/{file}: {layer}/ is no layer of scripts/check_layers.py')
            continue
        for kind, target in found:
            other = target.split('/')[0]
            # A .inc without a folder is made by CMake.
            if kind == '"' and other not in ORDER and not re.fullmatch(r'\w+\.inc', target):
                problems.append(f'src/{file}: includes "{target}", which is not a path from src/')
            if '/' not in target or other not in ORDER:
                continue
            if ORDER.index(other) > ORDER.index(layer):
                problems.append(f'src/{file}: {layer}/ may not include {target}, {other}/ is above it')
            elif layer == 'serve' and other == 'lab':
                problems.append(f'src/{file}: serve/ may not include {target}, it does not know the lab')
            elif layer == 'methods' and file.count('/') > 1 and not is_test(file):
                own = file.rsplit('.', 1)[0] + '.h'
                if not METHODS_SEE.match(target) and target != own:
                    problems.append(f'src/{file}: a method may not include {target}: it knows no files, no models and no '
                                    'other method, only base/, tensor/, codecs/, lab/math/ and the headers of methods/ itself')
        if reaches_libtorch(file) and not may_use_libtorch(file):
            problems.append(f'src/{file}: reaches libtorch headers, which only lab/ (not lab/math/) and cli/lab_* may')
    return problems, long_files


def self_test():
    """Each planted violation is found, and the innocent neighbour is not."""
    planted = {
        'base/a.h': '#include "tensor/b.h"\n',                         # upwards
        'runtime/c.cpp': '#include <torch/torch.h>\n',                 # libtorch directly
        'eval/d.cpp': '#include "lab/e.h"\n',                          # libtorch through a header
        'methods/weights/f.cpp': '#include "methods/weights/g.h"\n',   # another method
        'methods/weights/h.cpp': '#include "formats/i.h"\n',           # a method that knows files
        'serve/j.cpp': '#include "lab/math/k.h"\n',                    # serve knows the lab
        'cli/l.cpp': '#include "helpers.h"\n',                         # not a path from src/
        'gadgets/m.h': '',                                             # no such layer
    }
    innocent = {
        'tensor/b.h': '#include "base/n.h"\n#include <vector>\n', 'lab/e.h': '#include <torch/torch.h>\n',
        'methods/weights/g.cpp': '#include "lab/math/k.h"\n#include "methods/method.h"\n', 'lab/math/k.h': '#include "base/n.h"\n',
        'cli/o.cpp': '#include "serve/p.h"\n', 'cli/lab_main.cpp': '#include "lab/e.h"\n',
    }
    with tempfile.TemporaryDirectory() as folder:
        src = pathlib.Path(folder)
        for name, text in {**planted, **innocent}.items():
            (src / name).parent.mkdir(parents=True, exist_ok=True)
            (src / name).write_text(text)
        (src / 'cli/long.cpp').write_text('\n' * (LONG + 1))
        problems, long_files = check(src)
    for name in planted:
        if not any(p.startswith(f'src/{name}:') for p in problems):
            sys.exit(f'[layers] self-test: the violation planted in {name} was not found')
    for name in innocent:
        if any(p.startswith(f'src/{name}:') for p in problems):
            sys.exit(f'[layers] self-test: {name} is innocent but was reported: {problems}')
    if long_files != [f'src/cli/long.cpp: {LONG + 1} lines']:
        sys.exit(f'[layers] self-test: long files: {long_files}')


def main():
    self_test()
    if '--self-test' in sys.argv[1:]:
        return
    problems, long_files = check(pathlib.Path(__file__).resolve().parent.parent / 'src')
    for line in long_files:
        print(f'[layers] long file: {line}', file=sys.stderr)
    for line in problems:
        print(f'[layers] {line}', file=sys.stderr)
    if problems:
        sys.exit(1)


if __name__ == '__main__':
    main()
