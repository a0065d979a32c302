/** The gateway as its users run it: `src/main.ts` in a process of its own. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const ROOT = join(import.meta.dirname, '../..');

/** Every scope but those of administration, generous limits: see `src/core/demo-keys.ts`. */
export const TEST_KEY = 'llmgw_test123456789abcdef0123456789abcdef0123456789abcdef0123456789';

export interface GatewayProcess {
  readonly url: string;
  readonly pid: number;
  /** Everything it printed so far, both streams, a line each. */
  readonly output: readonly string[];
  /** The JSON lines of its log so far. */
  logs(): readonly Record<string, unknown>[];
  /** Resolves with the first line, of those printed already and those to come, that fits. */
  untilLog(fits: (line: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>;
  /** Ends it in order. @returns its exit code. */
  stop(): Promise<number | null>;
  /** Ends it without a chance to say goodbye. */
  kill(): Promise<void>;
  signal(name: NodeJS.Signals): void;
}

/** A process that may not be listening yet. */
export interface LaunchedGateway extends Omit<GatewayProcess, 'url'> {
  /** Resolves when it has ended, for whatever reason. */
  readonly exited: Promise<unknown>;
}

/**
 * Starts a gateway on a free port. Only the variables given reach it; its embedded database, unless another is given,
 * is a new one.
 */
export async function startGateway(env: Readonly<Record<string, string>> = {}): Promise<GatewayProcess> {
  const { exited, ...launched } = launchGateway(env);
  const listening = launched.untilLog((line) => line['msg'] === 'listening');
  const failed = exited.then(() => {
    throw new Error(`the gateway did not start:\n${launched.output.join('\n')}`);
  });
  const { port } = await Promise.race([listening, failed]);
  failed.catch(() => undefined);
  return { url: `http://127.0.0.1:${port}`, ...launched };
}

/** As `startGateway`, without waiting for it to listen. @param command what runs it, in the project's folder. */
export function launchGateway(
  env: Readonly<Record<string, string>>,
  [program, ...args]: readonly [string, ...string[]] = [process.execPath, 'src/main.ts'],
): LaunchedGateway {
  const dataDir = mkdtempSync(join(tmpdir(), 'llm-gateway-data-'));
  const child = spawn(program, args, {
    cwd: ROOT,
    env: { PATH: process.env['PATH'] ?? '', PORT: '0', DATA_DIR: dataDir, SHUTDOWN_GRACE_MS: '5000', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = once(child, 'exit').finally(() => rmSync(dataDir, { recursive: true, force: true }));
  return {
    pid: child.pid ?? 0,
    ...readOutput(child),
    exited,
    signal: (name) => void child.kill(name),
    async stop() {
      child.kill('SIGTERM');
      await exited;
      return child.exitCode;
    },
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

function readOutput(child: ChildProcess): Pick<GatewayProcess, 'output' | 'logs' | 'untilLog'> {
  const output: string[] = [];
  const parsed: Record<string, unknown>[] = [];
  const waiting = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    if (!stream) continue;
    createInterface({ input: stream }).on('line', (line) => {
      output.push(line);
      if (line.startsWith('{')) parsed.push(JSON.parse(line));
      for (const look of waiting) look();
    });
  }
  return {
    output,
    logs: () => parsed,
    untilLog: (fits) =>
      new Promise((resolve) => {
        let seen = 0;
        const look = () => {
          while (seen < parsed.length) {
            const line = parsed[seen++] ?? {};
            if (!fits(line)) continue;
            waiting.delete(look);
            resolve(line);
            return;
          }
        };
        waiting.add(look);
        look();
      }),
  };
}

/** Runs `npm run keys -- …` as an operator does. @returns what it printed with `--json`, parsed. */
export async function runKeys(
  env: Readonly<Record<string, string>>,
  ...args: readonly string[]
): Promise<Record<string, unknown>> {
  const { stdout } = await promisify(execFile)(process.execPath, ['src/cli/keys.ts', ...args, '--json'], {
    cwd: ROOT,
    env,
  });
  return JSON.parse(stdout);
}
