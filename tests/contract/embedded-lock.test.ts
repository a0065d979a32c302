import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { lockDirectory } from '../../src/storage/lock.ts';

const MODULE = join(import.meta.dirname, '../../src/storage/lock.ts');

describe('the lock on the embedded database', () => {
  let root: string;
  let directory: string;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'llm-gateway-lock-'));
    directory = join(root, 'database');
  });
  afterEach(() => rmSync(root, { recursive: true }));

  /** A program that takes the lock, says what came of it, and then does `then`. */
  const program = (then: string) =>
    `import { lockDirectory } from ${JSON.stringify(MODULE)};
     try { lockDirectory(process.argv[1]); console.log('taken'); ${then} } catch (error) { console.log(error.message); }`;
  const run = async (then = '') =>
    (await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program(then), directory]))
      .stdout;

  test('keeps a second process out, with a sentence that says what to do', async () => {
    const unlock = lockDirectory(directory);
    expect(await run()).toBe(
      `The embedded database in ${directory} is in use by process ${process.pid}, and only one process at a time can use it: stop that one first (it is probably the gateway), or set DATABASE_URL to a PostgreSQL that both can use.\n`,
    );
    unlock();
    expect(await run()).toBe('taken\n');
  });

  test('keeps a second user within one process out', () => {
    const unlock = lockDirectory(directory);
    expect(() => lockDirectory(directory)).toThrow(/in use by process/);
    unlock();
    lockDirectory(directory)();
    expect(readdirSync(root)).toEqual([]);
  });

  test('does not outlive a holder that was killed', async () => {
    const holder = spawn(
      process.execPath,
      ['--input-type=module', '-e', program('setInterval(() => {}, 1000)'), directory],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    await once(holder.stdout, 'data');
    expect(() => lockDirectory(directory)).toThrow(`in use by process ${holder.pid}`);
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    lockDirectory(directory)();
  });

  test('does not mistake another process with the dead holder’s id for the holder', () => {
    writeFileSync(`${directory}.lock`, '1 another-boot/123\n');
    lockDirectory(directory)();
    expect(existsSync(`${directory}.lock`)).toBe(false);
  });

  test('survives a lock file that makes no sense', () => {
    writeFileSync(`${directory}.lock`, '');
    lockDirectory(directory)();
  });

  test('of many processes that find a stale lock at once exactly one takes it', async () => {
    writeFileSync(`${directory}.lock`, '999999999 gone\n');
    // The winner holds on until the others have had their answer.
    const processes = Array.from({ length: 6 }, () =>
      spawn(process.execPath, ['--input-type=module', '-e', program('process.stdin.resume()'), directory], {
        stdio: ['pipe', 'pipe', 'inherit'],
      }),
    );
    const answers = await Promise.all(
      processes.map(async (child) => String(await once(child.stdout, 'data'))),
    );
    for (const child of processes) child.stdin.end();
    await Promise.all(processes.map((child) => child.exitCode ?? once(child, 'exit')));
    expect(answers.filter((answer) => answer === 'taken\n')).toHaveLength(1);
  });
});
