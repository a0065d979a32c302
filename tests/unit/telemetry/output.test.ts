import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { afterEach, expect, test } from '@jest/globals';

/** Logs 2,000 lines to its standard output, waits for them to get out, and says so on the standard error. */
const PROGRAM = `
  import { createLog } from ${JSON.stringify(new URL('../../../src/telemetry/log.ts', import.meta.url).href)};
  const log = createLog('info', 'blue-1');
  for (let count = 1; count <= 2000; count++) log.write('info', 'line', { count });
  await log.flush();
  process.stderr.write('flushed');
  process.exit(0);
`;

/** Logs 60,000 lines of more than 500 characters, twice of what is kept. */
const FLOOD = `
  import { createLog } from ${JSON.stringify(new URL('../../../src/telemetry/log.ts', import.meta.url).href)};
  const log = createLog('info', 'blue-1');
  for (let count = 0; count < 60_000; count++) log.write('info', 'line', { detail: 'x'.repeat(450) });
  process.stderr.write('logged');
  await log.flush();
`;

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

function start(program = PROGRAM) {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  return child;
}

test('every line is out once flush has resolved, in order', async () => {
  const lines = (await text(start().stdout)).trimEnd().split('\n');
  const counts = lines.map((line): unknown => JSON.parse(line).count);
  expect(counts).toEqual(Array.from({ length: 2000 }, (_, index) => index + 1));
});

test('lines beyond what may be kept for a reader that does not read are dropped, whole ones', async () => {
  const child = start(FLOOD);
  await once(child.stderr, 'data');
  const lines = (await text(child.stdout)).trimEnd().split('\n');
  for (const line of lines) JSON.parse(line);
  expect(lines.length).toBeGreaterThan(20_000);
  expect(lines.length).toBeLessThan(50_000);
});

test('a reader that has gone, as after Ctrl-C on a pipeline, does not keep the process', async () => {
  const child = start();
  child.stdout.destroy();
  const [said, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
  expect([said, code]).toEqual(['flushed', 0]);
});
