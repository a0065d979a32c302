import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { styleText } from 'node:util';
import type { Options } from './options.ts';
import type { Result } from './run.ts';

const COLOURS = { passed: 'green', failed: 'red', skipped: 'yellow' } as const;
const STATUS_WIDTH = 9;
const NAME_WIDTH = 16;
const INDENT = ' '.repeat(STATUS_WIDTH + NAME_WIDTH);

/** One line of the table, or a few where there is more to say. @param columns how wide the table may be. */
export function formatResult({ name, status, saw, lookAt }: Result, columns: number): string {
  const width = Math.max(40, columns - INDENT.length);
  const detail = [...wrap(saw, width), ...(lookAt ? wrap(`Look at: ${lookAt}.`, width) : [])];
  const [first = '', ...others] = detail;
  const label = styleText(COLOURS[status], status.padEnd(STATUS_WIDTH));
  return [`${label}${name.padEnd(NAME_WIDTH)}${first}`, ...others.map((line) => INDENT + line)].join('\n');
}

export function countStatuses(results: readonly Result[]): Readonly<Record<Result['status'], number>> {
  const count = (status: Result['status']) => results.filter((result) => result.status === status).length;
  return { passed: count('passed'), failed: count('failed'), skipped: count('skipped') };
}

/** Writes the results as JSON, without the key. @returns the file's path. */
export function writeReport({ url, folder }: Options, startedAt: Date, results: readonly Result[]): string {
  const counts = countStatuses(results);
  const report = {
    url,
    ready: counts.failed === 0,
    startedAt: startedAt.toISOString(),
    finishedAt: new Date().toISOString(),
    counts,
    checks: results,
  };
  // A colon cannot stand in the name of a file everywhere.
  const path = join(folder, `test-results-${startedAt.toISOString().replaceAll(':', '-')}.json`);
  writeFileSync(path, `${JSON.stringify(report, null, 2)}\n`);
  return path;
}

function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
