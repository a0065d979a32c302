import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { type Simulator, startSimulator } from '../../simulator/server.ts';
import { endLeases } from '../support/abandoned.ts';
import { chat, openStream, statusOf } from '../support/caller.ts';
import { eventually } from '../support/eventually.ts';
import { type GatewayProcess, launchGateway, startGateway, TEST_KEY } from '../support/gateway.ts';
import { type Operator, openOperator } from '../support/operator.ts';
import { createDataDir } from '../support/pglite.ts';
import { createDatabase } from '../support/postgres.ts';
import { type PrivateRedis, startRedis } from '../support/redis.ts';

let ollama: Simulator;
let redis: PrivateRedis;
let operator: Operator;
let databaseUrl: string;
const opened = new AsyncDisposableStack();
let started: GatewayProcess[] = [];

beforeAll(async () => {
  ollama = await startSimulator({ parallel: 20 });
  opened.defer(() => ollama.close());
  redis = await startRedis();
  opened.defer(() => redis.close());
  const database = await createDatabase();
  opened.defer(database.drop);
  databaseUrl = database.url;
  operator = await openOperator(databaseUrl);
  opened.defer(() => operator.close());
});
afterEach(async () => {
  await Promise.all(started.map((gateway) => gateway.kill()));
  started = [];
});
afterAll(() => opened.disposeAsync());

async function start(env: Readonly<Record<string, string>>): Promise<GatewayProcess> {
  const gateway = await startGateway({ OLLAMA_URLS: ollama.url, ...env });
  started.push(gateway);
  return gateway;
}

const startShared = (env: Readonly<Record<string, string>> = {}) =>
  start({ DATABASE_URL: databaseUrl, REDIS_URL: redis.url, ...env });

/** Runs for a second or two: longer than a server lingers, and shorter than the grace it is given. */
const SOME_SECONDS = { tokens: 60, paceMs: 25 };
const ENDLESS = { tokens: 100_000, paceMs: 25 };

describe('SIGTERM', () => {
  test('lets a running stream finish while it says that it is not ready, and leaves nothing unwritten', async () => {
    const gateway = await startShared({ SHUTDOWN_GRACE_MS: '20000' });
    const { key, secret } = await operator.createKey({ limits: { concurrentRequests: 5 } });
    for (let done = 0; done < 3; done++) expect(await statusOf(chat(gateway, secret))).toBe(200);
    const stream = await openStream(gateway, secret, { requestId: 'to-the-end', script: SOME_SECONDS });
    await stream.untilEvents(3);

    const stopped = gateway.stop();
    await gateway.untilLog((line) => line['msg'] === 'stopping');
    // For a moment it still answers, so that load balancers can see that they should look elsewhere.
    const ready = await fetch(`${gateway.url}/ready`);
    expect(ready.status).toBe(503);
    expect(ready.headers.get('connection')).toBe('close');
    expect(await ready.json()).toMatchObject({ ready: false, draining: true });
    expect(await statusOf(chat(gateway, secret))).toBe(200);
    await eventually('refused connections', () =>
      fetch(`${gateway.url}/health`).then(
        async (response) => void (await response.arrayBuffer()),
        () => true as const,
      ),
    );

    const end = await stream.ended();
    expect(end).toMatchObject({ done: true, errorCode: undefined, broken: false });
    expect(await stopped).toBe(0);
    // No other process is there to write them: they were written before it ended, or wait where they are safe.
    // What it has not got round to taking off the stream is there twice, which the ledger does not mind.
    const rows = await operator.rows(key.keyId);
    const waiting = (await redis.command('XRANGE', 'llmgw:usage', '-', '+')) as [string, [string, string]][];
    const ids = [...rows.map(({ id }) => id), ...waiting.map(([, [, entry]]) => JSON.parse(entry).id)];
    expect(new Set(ids).size).toBe(5);
    expect(await redis.command('HLEN', `llmgw:{${key.keyId}}:held`)).toBe(0);
  });

  test('to npm, where that has started it, ends the gateway too, and in order', async () => {
    const env = { DATABASE_URL: databaseUrl, REDIS_URL: redis.url, OLLAMA_URLS: ollama.url };
    const npm = launchGateway(env, ['npm', 'start']);
    const { port } = await npm.untilLog((line) => line['msg'] === 'listening');
    const isUp = () => statusOf(fetch(`http://127.0.0.1:${port}/health`)).catch(() => 'refused');
    expect(await isUp()).toBe(200);
    expect(await npm.stop()).toBe(0);
    await npm.untilLog((line) => line['msg'] === 'stopping');
    expect(await isUp()).toBe('refused');
  });

  test('past the grace ends a stream with an error frame; further signals change nothing', async () => {
    const gateway = await startShared({ SHUTDOWN_GRACE_MS: '800' });
    const { key, secret } = await operator.createKey();
    const stream = await openStream(gateway, secret, { script: ENDLESS });
    await stream.untilEvents(3);
    const stopped = gateway.stop();
    await gateway.untilLog((line) => line['msg'] === 'stopping');
    gateway.signal('SIGTERM');
    gateway.signal('SIGINT');
    expect(await stream.ended()).toMatchObject({
      done: false,
      errorCode: 'shutting_down',
      broken: false,
    });
    gateway.signal('SIGTERM');
    expect(await stopped).toBe(0);
    expect(gateway.logs().filter((line) => line['msg'] === 'stopping')).toHaveLength(1);

    const successor = await startShared();
    const [row] = await operator.untilRows(key.keyId, 1);
    expect(row).toMatchObject({ status: 'error', error_code: 'shutting_down', estimated: true });
    expect(Number(row?.completion_tokens)).toBeGreaterThanOrEqual(2);

    // Idle, it has nothing to wait for but the moment in which load balancers notice.
    const begun = Date.now();
    expect(await successor.stop()).toBe(0);
    expect(Date.now() - begun).toBeLessThan(4000);
  });

  test('ends it also while PostgreSQL and Redis are not there', async () => {
    const gateway = await start({
      DATABASE_URL: 'postgresql://postgres@127.0.0.1:1/none',
      REDIS_URL: 'redis://127.0.0.1:1',
    });
    const begun = Date.now();
    expect(await gateway.stop()).toBe(0);
    expect(Date.now() - begun).toBeLessThan(10_000);
  });

  test('while it starts ends it in order as well, before it has listened', async () => {
    // A database that never answers: what waits for it is in the middle of its start.
    const silent = createServer().listen(0, '127.0.0.1').unref();
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const gateway = launchGateway({
      DATABASE_URL: `postgresql://postgres@127.0.0.1:${port}/none`,
      OLLAMA_URLS: ollama.url,
    });
    await once(silent, 'connection');
    expect(await gateway.stop()).toBe(0);
    expect(gateway.logs().map(({ msg }) => msg)).toContain('stopping');
    expect(gateway.logs().map(({ msg }) => msg)).not.toContain('listening');
  });
});

describe('a bug that nobody caught', () => {
  /** What makes one, whenever it is wanted. */
  const buggy = `--import data:text/javascript,process.on('SIGUSR2',()=>{throw(Error('a_bug'))})`;

  test('ends the gateway in order, with an error, and a second one cuts nothing short', async () => {
    const gateway = await startShared({ NODE_OPTIONS: buggy, SHUTDOWN_GRACE_MS: '20000' });
    const { secret } = await operator.createKey();
    const stream = await openStream(gateway, secret, { script: SOME_SECONDS });
    await stream.untilEvents(3);
    gateway.signal('SIGUSR2');
    const line = await gateway.untilLog(({ msg }) => msg === 'stopping');
    expect(line).toMatchObject({ level: 'error', reason: expect.stringContaining('a_bug') });
    gateway.signal('SIGUSR2');
    expect(await stream.ended()).toMatchObject({ done: true, errorCode: undefined, broken: false });
    expect(await gateway.stop()).toBe(1);
  });
});

describe('a process that is killed', () => {
  test('breaks its streams, keeps what it had completed, and its slots come free when their leases end', async () => {
    const killed = await startShared();
    const { key, secret } = await operator.createKey({ limits: { concurrentRequests: 3 } });
    const streams = await Promise.all([1, 2].map(() => openStream(killed, secret, { script: ENDLESS })));
    await Promise.all(streams.map((stream) => stream.untilEvents(3)));
    const ids: readonly string[] = ['killed-1', 'killed-2', 'killed-3'];
    for (const requestId of ids) expect(await statusOf(chat(killed, secret, { requestId }))).toBe(200);
    await killed.kill();
    for (const stream of streams) {
      expect(await stream.ended()).toMatchObject({ done: false, errorCode: undefined, broken: true });
    }

    const successor = await startShared();
    const rows = await operator.untilRows(key.keyId, ids.length);
    expect(rows.map((row) => row.request_id).sort()).toEqual(ids);

    const third = await openStream(successor, secret, { script: ENDLESS });
    await third.untilEvents(3);
    expect(await statusOf(chat(successor, secret))).toBe(429);
    expect(await endLeases(redis, key.keyId, 2)).toBe(2);
    expect(await statusOf(chat(successor, secret))).toBe(200);
    third.leave();
  });
});

test('a port in use ends the process with one sentence', async () => {
  const first = await startShared();
  const refusal = await startShared({ PORT: new URL(first.url).port }).then(
    () => ['it started'],
    (error: Error) => error.message.split('\n').slice(1),
  );
  const sentences = refusal.filter((line) => !line.startsWith('{'));
  expect(sentences).toEqual([expect.stringMatching(/EADDRINUSE.*:\d+$/)]);
  expect((await fetch(`${first.url}/health`)).status).toBe(200);
});

describe('on one embedded database', () => {
  test('a second process ends with one sentence, and a killed one is followed by the next, keys and all', async () => {
    const directory = createDataDir();
    try {
      const env = { DATA_DIR: directory.dataDir };
      const first = await start(env);
      expect(await statusOf(chat(first, TEST_KEY))).toBe(200);

      const refusal = await start(env).then(
        () => 'it started',
        (error: Error) => error.message.split('\n').slice(1),
      );
      expect(refusal).toEqual([expect.stringMatching(/ is in use by process \d+.*DATABASE_URL/)]);
      expect(await statusOf(chat(first, TEST_KEY))).toBe(200);

      const lock = join(directory.dataDir, 'database.lock');
      await first.kill();
      expect(readFileSync(lock, 'utf8')).toContain(`${first.pid} `);
      const next = await start(env);
      expect(await statusOf(chat(next, TEST_KEY))).toBe(200);
      expect(await next.stop()).toBe(0);
    } finally {
      directory.remove();
    }
  });
});
