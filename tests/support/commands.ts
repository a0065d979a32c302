/** The commands that documentation shows, run as they stand there. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from './programs.ts';

const ROOT = join(import.meta.dirname, '../..');
const PATIENCE_MS = 60_000;

export interface Commands {
  readonly names: readonly string[];
  /** What `run` has been called for so far. */
  readonly tried: ReadonlySet<string>;
  /**
   * Runs a block in the project's folder.
   * @param env its variables, besides `PATH`.
   * @returns what it wrote to standard output.
   * @throws Error where a command of it fails.
   */
  run(name: string, env: Readonly<Record<string, string>>): Promise<string>;
}

/** Sees to it before the first test that there is what the documentation's commands call. */
export async function installCommandTools(): Promise<() => Promise<void>> {
  await findProgram('pg_dump', { debianPackage: 'postgresql-client' });
  await findProgram('redis-cli', { debianPackage: 'redis-tools' });
  await findProgram('curl', { debianPackage: 'curl' });
  return async () => undefined;
}

/**
 * The blocks of shell commands that a page marks, right before each, with the comment `<!-- tested: name -->`.
 * @param pages paths from the root of the project.
 */
export function readCommands(...pages: readonly string[]): Commands {
  const text = pages.map((page) => readFileSync(join(ROOT, page), 'utf8')).join('\n');
  const blocks = new Map(
    [...text.matchAll(/^<!-- tested: ([\w-]+) -->\n```sh\n([\s\S]*?)^```$/gm)].map(
      ([, name = '', script = '']) => [name, script] as const,
    ),
  );
  if (blocks.size !== text.match(/<!-- tested:/g)?.length)
    throw new Error('a tested block is not marked right');
  const tried = new Set<string>();
  return {
    names: [...blocks.keys()],
    tried,
    async run(name, env) {
      const script = blocks.get(name);
      if (script === undefined) throw new Error(`there are no commands named ${name}`);
      tried.add(name);
      const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], {
        cwd: ROOT,
        env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', ...env },
        timeout: PATIENCE_MS,
      });
      return stdout;
    },
  };
}
