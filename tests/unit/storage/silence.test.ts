import { access } from 'node:fs/promises';
import { expect, test } from '@jest/globals';
import { createSilenceGuard } from '../../../src/storage/silence.ts';

const LIMIT_MS = 40;
const never = () => new Promise<never>(() => undefined);

function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

test('a command that nothing answers is given up', async () => {
  const ask = createSilenceGuard(LIMIT_MS);
  await expect(ask(never)).rejects.toThrow('no answer');
  await expect(ask(never)).rejects.toThrow('no answer');
});

test('answers and errors pass through', async () => {
  const ask = createSilenceGuard(LIMIT_MS);
  expect(await ask(async () => 7)).toBe(7);
  await expect(ask(() => Promise.reject(new Error('READONLY')))).rejects.toThrow('READONLY');
});

test('a slow command is waited for as long as others are answered, and given up in the silence after', async () => {
  const ask = createSilenceGuard(LIMIT_MS);
  let settled = false;
  const slow = ask(never).catch((error: Error) => {
    settled = true;
    return error.message;
  });
  const end = performance.now() + 4 * LIMIT_MS;
  while (performance.now() < end) {
    await ask(() => new Promise((resolve) => setImmediate(resolve)));
  }
  expect(settled).toBe(false);
  expect(await slow).toContain('no answer');
});

test('an answer that came while this process was busy counts, however late it is read', async () => {
  const ask = createSilenceGuard(LIMIT_MS);
  // From an immediate the loop goes on to its timers, and only then to what has arrived.
  await new Promise((resolve) => setImmediate(resolve));
  const answer = ask(() => access(import.meta.filename));
  block(3 * LIMIT_MS);
  await expect(answer).resolves.toBeUndefined();
});
