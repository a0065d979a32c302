import { execFile } from 'node:child_process';
import { CommandError } from '../../src/cli/program.ts';
import type { Options } from './options.ts';
import type { Replica } from './upstreams.ts';

const PROBE_TIMEOUT_MS = 10_000;
/** The end of what a failed command printed is where it says why. */
const SHOWN_CHARACTERS = 500;

/** What can be done to nginx and the replicas, by whatever runs them. */
export interface Fleet {
  /** @throws CommandError with what the command had to say. */
  reload(): Promise<void>;
  /** @throws CommandError with what the command had to say. */
  restart(replica: Replica): Promise<void>;
  /** @returns the body of a replica's answer to `GET path`; undefined where there is none, or its status is 400 or more. */
  probe(replica: Replica, path: string): Promise<string | undefined>;
}

export function createFleet({
  restart,
  reload,
  probe,
}: Pick<Options, 'restart' | 'reload' | 'probe'>): Fleet {
  return {
    reload: async () => void (await run(reload)),
    restart: async (replica) => void (await run(fill(restart, replica, ''))),
    async probe(replica, path) {
      try {
        return probe === undefined
          ? await ask(replica, path)
          : await run(fill(probe, replica, path), PROBE_TIMEOUT_MS);
      } catch {
        return undefined;
      }
    },
  };
}

function fill(command: string, { number, server, host }: Replica, path: string): string {
  const values: Readonly<Record<string, string>> = { n: String(number), server, host, path };
  return command.replace(/\{(n|server|host|path)\}/g, (_whole, name: string) => values[name] ?? '');
}

async function ask({ server }: Replica, path: string): Promise<string | undefined> {
  const response = await fetch(`http://${server}${path}`, { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) });
  const body = await response.text();
  return response.ok ? body : undefined;
}

/** @returns what the command printed to standard output. */
function run(command: string, timeout = 0): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile('sh', ['-c', command], { timeout, maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (!error) return resolve(stdout);
      const said = `${stdout}${stderr}`.trim().slice(-SHOWN_CHARACTERS);
      reject(new CommandError(`\`${command}\` failed${said === '' ? '' : `: ${said}`}`));
    });
  });
}
