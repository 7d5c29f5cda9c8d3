#!/usr/bin/env python3
"""Totals what `make test` ran; the last line says how it went. Usage: test_summary.py FOLDER [FAILED_STAGE...]

FOLDER holds PRESET.junit (ctest's report) and PRESET/NAME_tests.xml (GoogleTest's own, one for each binary that ran to its end).
"""
import pathlib
import sys
import xml.etree.ElementTree as xml

folder = pathlib.Path(sys.argv[1])
passed, failed, skipped = 0, [], {}


def count(name, broken, skip):
    global passed
    if broken:
        failed.append(name)
    elif skip is not None:
        skipped.setdefault((skip.strip().splitlines() or ['no reason given'])[-1], []).append(name)
    else:
        passed += 1


for junit in sorted(folder.glob('*.junit')):
    preset = junit.stem
    for test in xml.parse(junit).iter('testcase'):
        detail = folder / preset / f"{test.get('name')}_tests.xml"
        broken = test.find('failure') is not None
        cases = list(xml.parse(detail).iter('testcase')) if detail.exists() else []
        for case in cases:
            skip = case.find('skipped')
            message = skip.get('message') or skip.text or '' if skip is not None else None
            count(f"{preset}: {case.get('classname')}.{case.get('name')}", case.find('failure') is not None, message)
        # A binary that died reports no failed case of its own.
        if not cases or (broken and all(case.find('failure') is None for case in cases)):
            output = test.findtext('system-out') or ''
            count(f"{preset}: {test.get('name')}", broken, output if test.find('skipped') is not None else None)

for reason, names in skipped.items():
    print(f'skipped {len(names)}: {reason} ({names[0]}{", ..." if len(names) > 1 else ""})')
for name in failed:
    print(f'FAILED {name}')
stages = sys.argv[2:]
for stage in stages:
    print(f'FAILED stage: {stage}')
bad = bool(failed or stages)
count_skipped = sum(len(names) for names in skipped.values())
print(f"make test: {'FAILED' if bad else 'passed'}: {passed} tests passed, {len(failed)} failed, {count_skipped} skipped")
sys.exit(bad)
