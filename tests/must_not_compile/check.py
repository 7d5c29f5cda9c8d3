"""check.py CASE.cpp COMPILER FLAG...: CASE compiles; with -DMISUSE it fails with what its "// expected: REGEX" line says."""
import pathlib
import re
import subprocess
import sys

case, compiler = sys.argv[1], sys.argv[2:]
expected = re.search(r'^// expected: (.+)$', pathlib.Path(case).read_text(), re.M).group(1)


def compile_case(*more):
    done = subprocess.run([*compiler, *more, case], capture_output=True, text=True, env={'LC_ALL': 'C', 'PATH': '/usr/bin:/bin'})
    return done.returncode, done.stderr


status, errors = compile_case()
if status != 0:
    sys.exit(f'{case} must compile without -DMISUSE:\n{errors}')
status, errors = compile_case('-DMISUSE')
if status == 0:
    sys.exit(f'{case} compiles with -DMISUSE: the misuse is possible')
if not re.search(expected, errors):
    sys.exit(f'{case} fails for another reason than /{expected}/:\n{errors}')
