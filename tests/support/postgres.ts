/** Real PostgreSQL for tests: one server for the whole run, and private ones for tests of its outages. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { migrate } from '../../src/storage/migrate.ts';
import { openPostgres } from '../../src/storage/postgres.ts';
import { findFreePort, findProgram, type ServerProcess, startServer } from './programs.ts';

/** A PostgreSQL server of this test alone, which it may treat badly. */
export interface PrivatePostgres {
  readonly url: string;
  /** Ends the server at once, cutting every connection. The data stays. */
  stop(): Promise<void>;
  /** Starts it again, on the same port and data. */
  start(): Promise<void>;
  /** Suspends the server and all of its connections' processes: it accepts, and answers nothing. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  /** Ends the server and deletes its data. */
  close(): Promise<void>;
}

const SOURCE = {
  debianPackage: 'postgresql',
  candidates: ['/usr/lib/postgresql/*/bin/NAME', '/opt/homebrew/opt/postgresql@*/bin/NAME'],
  variable: 'TEST_DATABASE_URL',
};

function findPostgres(name: 'initdb' | 'postgres'): Promise<string> {
  const candidates = SOURCE.candidates.map((path) => path.replace('NAME', name));
  return findProgram(name, { ...SOURCE, candidates });
}

/**
 * Nothing here has to survive a power cut, and nothing may be reached from another machine. What was committed survives
 * the end of the server, though, as tests of its outages count on that.
 */
const SETTINGS = [
  'fsync=off',
  'full_page_writes=off',
  'listen_addresses=127.0.0.1',
  'unix_socket_directories=',
  'shared_buffers=32MB',
  'autovacuum=off',
];

/** Starts a server with an empty database of its own. Takes about a second. */
export async function startPostgres(
  options: { readonly maxConnections?: number } = {},
): Promise<PrivatePostgres> {
  const [initdb, postgres] = await Promise.all([findPostgres('initdb'), findPostgres('postgres')]);
  const directory = mkdtempSync(join(tmpdir(), 'llm-gateway-postgres-'));
  const owner = await unprivilegedOwner(directory);
  const data = join(directory, 'data');
  const identity = { cwd: directory, ...owner };
  await promisify(execFile)(
    initdb,
    ['--no-sync', '--auth=trust', '--username=postgres', '--encoding=UTF8', '--locale=C', data],
    identity,
  );

  const port = await findFreePort();
  const url = `postgresql://postgres@127.0.0.1:${port}/postgres`;
  const settings = [...SETTINGS, `port=${port}`, `max_connections=${options.maxConnections ?? 100}`];
  const args = ['-D', data, ...settings.flatMap((setting) => ['-c', setting])];
  let server: ServerProcess | undefined;
  let frozen: readonly number[] = [];

  const instance: PrivatePostgres = {
    url,
    async start() {
      server = await startServer(postgres, args, identity);
      await untilReady(url, server);
    },
    async stop() {
      await instance.thaw();
      await server?.stop('SIGQUIT');
    },
    async freeze() {
      if (server) frozen = await freeze(url, server.pid);
    },
    async thaw() {
      for (const pid of frozen) process.kill(pid, 'SIGCONT');
      frozen = [];
    },
    async close() {
      await instance.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
  await instance.start();
  return instance;
}

/** PostgreSQL refuses to run as root. There, it gets the `postgres` user that its own package made, or `nobody`. */
async function unprivilegedOwner(directory: string): Promise<{ uid?: number; gid?: number }> {
  if (userInfo().uid !== 0) return {};
  const idOf = async (flag: '-u' | '-g', user: string) =>
    Number((await promisify(execFile)('id', [flag, user])).stdout);
  const user = await idOf('-u', 'postgres').then(
    () => 'postgres',
    () => 'nobody',
  );
  const [uid, gid] = await Promise.all([idOf('-u', user), idOf('-g', user)]);
  chownSync(directory, uid, gid);
  return { uid, gid };
}

async function untilReady(url: string, server: ServerProcess): Promise<void> {
  let running = true;
  void server.exited.then(() => {
    running = false;
  });
  while (running) {
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 1000 });
    try {
      await client.connect();
      await client.end();
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  throw new Error(`PostgreSQL ended while it was starting: ${server.output()}`);
}

/**
 * Suspends the server first, so that no connection can appear, and then every process that it lists; a connection that
 * is open already still answers in between.
 * @returns what was suspended.
 */
async function freeze(url: string, serverPid: number): Promise<readonly number[]> {
  const client = new pg.Client({ connectionString: url });
  // Its own process is among the suspended, so nothing orderly will end it.
  client.on('error', () => undefined);
  await client.connect();
  process.kill(serverPid, 'SIGSTOP');
  const { rows } = await client.query<{ pid: number }>('select pid from pg_stat_activity');
  const pids = [serverPid, ...rows.map((row) => row.pid)];
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  await new Promise<void>((resolve) => {
    client.connection.stream.once('close', () => resolve()).destroy();
  });
  return pids;
}

const TEMPLATE = 'TEST_DATABASE_TEMPLATE';

/** Starts the server that all test files share, unless `TEST_DATABASE_URL` names one, and a template for databases. */
export async function sharePostgres(): Promise<() => Promise<void>> {
  const server = process.env['TEST_DATABASE_URL'] ? undefined : await startPostgres();
  if (server) process.env['TEST_DATABASE_URL'] = server.url;
  const template = await createDatabase();
  process.env[TEMPLATE] = nameOf(template.url);
  const database = await openPostgres({ url: template.url, prepare: migrate });
  await database.close();
  return async () => {
    if (server) await server.close();
    else await template.drop();
  };
}

export interface TestDatabase {
  readonly url: string;
  /** Also where something is still connected to it. */
  drop(): Promise<void>;
}

/** A database on the shared server, for one test file alone, with the schema in place. */
export async function createDatabase(): Promise<TestDatabase> {
  const url = new URL(process.env['TEST_DATABASE_URL'] ?? '');
  const name = `llm_gateway_test_${randomUUID().replaceAll('-', '')}`;
  const template = process.env[TEMPLATE];
  await asAdmin(`create database ${name}${template ? ` template ${template}` : ''}`);
  url.pathname = `/${name}`;
  return { url: url.href, drop: () => asAdmin(`drop database ${name} with (force)`) };
}

async function asAdmin(sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: process.env['TEST_DATABASE_URL'] });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

function nameOf(url: string): string {
  return new URL(url).pathname.slice(1);
}
