"""claims_test.py BUILD_FOLDER: `sparing claims` from end to end on a real, tiny model (stories260K)."""
import json

from case import MODEL, TEXT, Case, main, sparing


class Claims(Case):
    def claims(self, *words):
        done = sparing('claims', *words, '--model', MODEL, '--name', 'tiny', '--calib', TEXT, '--calib-tokens', '4096', '--calib-length',
                       '256', '--text', TEXT, '--ctx', '256', '--chunks', '2', '--seeds', '2', '--out', self.folder / 'claims', '--json')
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout), done.stderr

    def test_claims_run_from_end_to_end_and_only_once(self):
        results, said = self.claims('gptq-coded_scales')
        self.assertEqual([r['id'] for r in results], ['gptq-coded_scales'])
        self.assertEqual(results[0]['seeds'], [0, 1])
        for result in results:
            self.assertGreaterEqual(result['baseline_side']['bytes'], result['bytes'])
            sides = zip(result['ours_side']['by_seed'], result['baseline_side']['by_seed'], strict=True)
            self.assertEqual(result['pass'], all(ours <= result['factor'] * theirs for ours, theirs in sides))
            kept = json.loads((self.folder / 'claims' / f'{result["id"]}.tiny.json').read_text())
            self.assertEqual(kept, result)
            self.assertEqual(list(kept)[:11], ['id', 'claim', 'model', 'bytes', 'ours', 'baseline', 'baseline_name', 'metric', 'seeds',
                                               'pass', 'reason'])
        self.assertEqual(said.count('seed 0'), 2)
        page = (self.folder / 'claims/README.md').read_text()
        self.assertIn('| gptq-coded_scales |', page)
        again, said = self.claims('gptq-coded_scales')
        self.assertEqual(again, results)
        self.assertNotIn('seed 0', said)
        done = sparing('claims', 'gptq-rounding', '--list')
        self.assertEqual(done.returncode, 2)
        self.assertIn("did you mean 'gptq-rounding-", done.stderr)
        self.assertIn('there is nothing to compare', sparing('claims', 'recode', '--list').stderr)

    def test_claims_run_methods_that_ask_what_predictions_depend_on(self):
        results, _ = self.claims('mixllm-gptq')
        self.assertNotIn('could not be run', results[0]['reason'])
        self.assertGreater(results[0]['bytes'], 0)


if __name__ == '__main__':
    main()
