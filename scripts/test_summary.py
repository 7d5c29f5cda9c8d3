#!/usr/bin/env python3
"""Totals the GoogleTest reports of `make test`; the last line says how it went. Usage: test_summary.py FOLDER [FAILED_STAGE...]"""
import pathlib
import sys
import xml.etree.ElementTree as xml

passed, failed, skipped = 0, [], {}
for report in sorted(pathlib.Path(sys.argv[1]).glob('*/*.xml')):
    where = f'{report.parent.name}/{report.stem}'
    for case in xml.parse(report).iter('testcase'):
        name = f"{where}: {case.get('classname')}.{case.get('name')}"
        skip = case.find('skipped')
        if case.find('failure') is not None:
            failed.append(name)
        elif skip is not None or case.get('result') == 'skipped':
            reason = (skip.get('message') if skip is not None else '') or 'no reason given'
            skipped.setdefault(reason.strip().splitlines()[-1], []).append(name)
        else:
            passed += 1
for reason, names in skipped.items():
    print(f'skipped {len(names)}: {reason} ({names[0]}{", ..." if len(names) > 1 else ""})')
for name in failed:
    print(f'FAILED {name}')
stages = sys.argv[2:]
for stage in stages:
    print(f'FAILED stage: {stage}')
bad = bool(failed or stages)
count = sum(len(names) for names in skipped.values())
print(f"make test: {'FAILED' if bad else 'passed'}: {passed} tests passed, {len(failed)} failed, {count} skipped")
sys.exit(bad)
