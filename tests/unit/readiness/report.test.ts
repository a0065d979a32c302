import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { countStatuses, formatResult, writeReport } from '../../../scripts/readiness/report.ts';
import type { Result } from '../../../scripts/readiness/run.ts';

const RESULTS: readonly Result[] = [
  { name: 'health', status: 'passed', saw: '12 of 12 answers', ms: 10 },
  { name: 'Redis', status: 'failed', saw: 'it is down', lookAt: 'REDIS_URL', ms: 20 },
  { name: 'load balancing', status: 'skipped', saw: 'one replica', ms: 30 },
];

const print = (result: Result, columns = 60) => stripVTControlCharacters(formatResult(result, columns));

describe('the table', () => {
  test('has a line for each check, and says of a failure where to look', () => {
    expect(RESULTS.map((result) => print(result)).join('\n')).toBe(
      [
        'passed   health          12 of 12 answers',
        'failed   Redis           it is down',
        '                         Look at: REDIS_URL.',
        'skipped  load balancing  one replica',
      ].join('\n'),
    );
  });

  test('fits into the terminal, whatever there is to say', () => {
    const saw = `${'some words and '.repeat(20)}${'x'.repeat(10)}`;
    const lines = print({ name: 'errors', status: 'failed', saw, ms: 1 }, 80).split('\n');
    expect(lines.length).toBeGreaterThan(4);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
    expect(lines.map((line) => line.slice(25)).join(' ')).toBe(saw);
  });
});

describe('the report', () => {
  test('is a file of its own for each run, and says whether the deployment is ready', () => {
    const folder = mkdtempSync(join(tmpdir(), 'readiness-'));
    try {
      const options = {
        url: 'http://gateway',
        key: 'llmgw_secret',
        timeoutMs: 1,
        answerTimeoutMs: 1,
        folder,
      };
      const path = writeReport(options, new Date('2026-01-02T03:04:05Z'), RESULTS);
      expect(basename(path)).toBe('test-results-2026-01-02T03-04-05.000Z.json');
      const text = readFileSync(path, 'utf8');
      expect(JSON.parse(text)).toMatchObject({
        url: 'http://gateway',
        ready: false,
        counts: countStatuses(RESULTS),
        checks: RESULTS,
      });
      expect(text).not.toContain('llmgw_secret');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
