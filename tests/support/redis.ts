/** Real Redis for tests: one server for the whole run, and private ones for tests of its outages. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { findFreePort, findProgram, type ServerProcess, startServer } from './programs.ts';

/** A Redis server of this test alone, which it may treat badly. */
export interface PrivateRedis {
  readonly url: string;
  /** Ends the server at once, cutting every connection. What it held in memory is gone unless it was saved. */
  stop(): Promise<void>;
  /**
   * Starts it again on the same port.
   * @param args further settings, such as `['--key-load-delay', '1000']`; they last until the next start.
   */
  start(args?: readonly string[]): Promise<void>;
  /** Suspends the process: it accepts connections, and answers nothing. */
  freeze(): void;
  thaw(): void;
  /** Sends one command on a connection of its own, e.g. `command('CONFIG', 'SET', 'maxmemory', '1')`. */
  command(name: string, ...args: readonly (string | number)[]): Promise<unknown>;
  /** Ends the server and deletes its data. */
  close(): Promise<void>;
}

/** Starts an empty server. Takes some tens of milliseconds. */
export async function startRedis(options: { readonly args?: readonly string[] } = {}): Promise<PrivateRedis> {
  const program = await findProgram('redis-server', {
    debianPackage: 'redis-server',
    candidates: ['/opt/homebrew/bin/redis-server'],
    variable: 'TEST_REDIS_URL',
  });
  const directory = mkdtempSync(join(tmpdir(), 'llm-gateway-redis-'));
  const port = await findFreePort();
  const url = `redis://127.0.0.1:${port}`;
  const settings = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', directory, '--save', ''];
  let server: ServerProcess | undefined;

  const instance: PrivateRedis = {
    url,
    async start(args = []) {
      server = await startServer(program, [...settings, ...(options.args ?? []), ...args], {
        cwd: directory,
      });
      await untilListening(url, server);
    },
    async stop() {
      instance.thaw();
      await server?.stop('SIGKILL');
      server = undefined;
    },
    freeze() {
      if (server) process.kill(server.pid, 'SIGSTOP');
    },
    thaw() {
      if (server) process.kill(server.pid, 'SIGCONT');
    },
    command: (name, ...args) => sendCommand(url, name, args),
    async close() {
      await instance.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
  await instance.start();
  return instance;
}

async function sendCommand(url: string, name: string, args: readonly (string | number)[]): Promise<unknown> {
  const redis = new Redis(url, {
    lazyConnect: true,
    enableReadyCheck: false,
    retryStrategy: () => null,
    disconnectTimeout: 50,
  });
  redis.on('error', () => undefined);
  try {
    return await redis.call(name, [...args]);
  } finally {
    redis.disconnect();
  }
}

async function untilListening(url: string, server: ServerProcess): Promise<void> {
  let running = true;
  void server.exited.then(() => {
    running = false;
  });
  while (running) {
    const answered = await sendCommand(url, 'PING', []).then(
      () => true,
      // A server that still reads its data is up, and some tests want it just so.
      (error: Error) => error.message.startsWith('LOADING'),
    );
    if (answered) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`Redis ended while it was starting: ${server.output()}`);
}

/** Starts the server that all test files share, unless `TEST_REDIS_URL` names one already. */
export async function shareRedis(): Promise<() => Promise<void>> {
  if (process.env['TEST_REDIS_URL']) return async () => undefined;
  const server = await startRedis();
  process.env['TEST_REDIS_URL'] = server.url;
  return () => server.close();
}

/** The address of the shared server. Tests keep apart by key ids and prefixes of their own. */
export function sharedRedisUrl(): string {
  const url = process.env['TEST_REDIS_URL'];
  if (!url) throw new Error('TEST_REDIS_URL is unset: run the tests through Jest, whose set-up starts Redis');
  return url;
}
