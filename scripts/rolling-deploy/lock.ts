import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { CommandError } from '../../src/cli/program.ts';

/**
 * Takes a file for this process, by another one beside it: two runs at once would take out more than one replica. What
 * a process has left behind that was killed no longer counts.
 * @throws CommandError where another process has it.
 */
export function lockFile(path: string): Disposable {
  const lock = `${path}.lock`;
  if (!take(lock)) {
    const holder = readFileSync(lock, 'utf8').trim();
    if (isAlive(Number(holder))) {
      throw new CommandError(
        `Process ${holder} is at it already. Where that is something else, delete ${lock}.`,
      );
    }
    rmSync(lock, { force: true });
    if (!take(lock)) throw new CommandError('Another process is at it already.');
  }
  return { [Symbol.dispose]: () => rmSync(lock, { force: true }) };
}

function take(lock: string): boolean {
  try {
    writeFileSync(lock, `${process.pid}\n`, { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw new CommandError(`${lock} cannot be written: ${(error as Error).message}.`);
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
