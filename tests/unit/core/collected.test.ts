import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';

test('requests that have ended are collected with the young objects, and not copied to the old ones', async () => {
  const program = join(import.meta.dirname, '../../support/requests-kept.ts');
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', program]);
  expect(Number(stdout)).toBeLessThan(0.2);
});
