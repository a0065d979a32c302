import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { GatewayError } from '../domain/error.ts';

/** Directories that this process itself holds. */
const held = new Set<string>();

/**
 * Takes a directory for this process. PGlite has no lock of its own: two processes on one directory would quietly
 * destroy its data. The lock is a file beside the directory that names its holder, and a holder that is gone, however
 * it went, no longer counts. It protects within one machine, not across machines or containers that share a volume.
 * @returns the function that gives it back.
 * @throws GatewayError `storage_unavailable` where it is taken.
 */
export function lockDirectory(directory: string): () => void {
  const file = `${resolve(directory)}.lock`;
  if (held.has(file)) throw inUse(directory, process.pid);
  const mine = `${process.pid} ${birthOf(process.pid)}\n`;
  // A file appears under its name only when it is complete, so nobody reads half a lock.
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, mine);
  try {
    while (!linkIfFree(draft, file)) evictIfGone(file, directory);
  } finally {
    rmSync(draft, { force: true });
  }
  held.add(file);
  return () => {
    if (!held.delete(file)) return;
    if (read(file) === mine) rmSync(file, { force: true });
  };
}

function linkIfFree(draft: string, file: string): boolean {
  try {
    linkSync(draft, file);
    return true;
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false;
    throw error;
  }
}

/** Removes the lock of a holder that is gone. */
function evictIfGone(file: string, directory: string): void {
  const seen = read(file);
  if (seen === undefined) return;
  const [pid = '', birth = ''] = seen.trim().split(' ');
  if (isAlive(Number(pid), birth)) throw inUse(directory, Number(pid));
  // Whoever else found the same stale lock may have replaced it meanwhile: moving it is atomic, and shows what it was.
  const moved = `${file}.${process.pid}.stale`;
  try {
    renameSync(file, moved);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    throw error;
  }
  if (read(moved) !== seen) linkIfFree(moved, file);
  rmSync(moved, { force: true });
}

/** The process has the same id and was born at the same moment: ids are used again, above all in containers. */
function isAlive(pid: number, birth: string): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (!hasCode(error, 'EPERM')) return false;
  }
  return birthOf(pid) === birth;
}

/** When a process began, in this boot of the machine. Empty where the system does not tell, outside Linux. */
function birthOf(pid: number): string {
  const stat = read(`/proc/${pid}/stat`);
  const boot = read('/proc/sys/kernel/random/boot_id')?.trim();
  if (stat === undefined || boot === undefined) return '';
  // The program's name, in parentheses, may contain spaces; the 20th field after it is the start time.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return `${boot}/${fields[19]}`;
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

function hasCode(error: unknown, code: string): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === code;
}

function inUse(directory: string, pid: number): GatewayError {
  const message = `The embedded database in ${directory} is in use by process ${pid}, and only one process at a time can use it: stop that one first (it is probably the gateway), or set DATABASE_URL to a PostgreSQL that both can use.`;
  return new GatewayError('storage_unavailable', message, { detail: message });
}
